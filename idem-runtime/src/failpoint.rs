//! The failpoints at which a test can make the ledger crash or fail: those of the crate `fail`, and
//! nothing at all in a build without the feature `__failpoints`.

/// Passes a failpoint; the second argument is what it returns when a test tells it to fail.
macro_rules! point {
    ($name:ident $(, $failure:expr)?) => {
        #[cfg(feature = "__failpoints")]
        fail::fail_point!(crate::failpoint::$name $(, $failure)?);
    };
}
#[cfg(feature = "__folder")]
pub(crate) use point;

#[cfg(feature = "__failpoints")]
pub(crate) use points::*;

/// Returns this process's id. A forked process has another one than its parent, which opened the
/// ledger.
pub(crate) fn process() -> u32 {
    point!(PROCESS, |_| 0);
    std::process::id()
}

#[cfg(feature = "__failpoints")]
pub mod points {
    //! The names of all failpoints, for `idem-crashtest`.
    use std::io;

    /// A group is decided, and nothing of it is written. It can also fail with [`refused`].
    pub(crate) const DECIDED: &str = "idem::decided";
    /// Its batch is in sled's memory. It can also fail with [`refused`].
    pub(crate) const APPLIED: &str = "idem::applied";
    /// Its batch is with the operating system, and not synced. It can also fail with [`refused`].
    pub(crate) const FLUSHED: &str = "idem::flushed";
    /// It is on the disk, but not in the witness.
    pub(crate) const SYNCED: &str = "idem::synced";
    /// It is in the witness, and no caller is answered.
    pub(crate) const WITNESSED: &str = "idem::witnessed";
    /// Its callers are answered.
    pub(crate) const ANSWERED: &str = "idem::answered";
    /// The log's pages behind the last acknowledged group have left the page cache, and are about
    /// to be read from the disk.
    pub(crate) const FORGOTTEN: &str = "idem::forgotten";
    /// An opening has read the ledger, and has written nothing.
    pub(crate) const OPENING: &str = "idem::opening";
    /// The opening is with the operating system, and not synced.
    pub(crate) const OPENED: &str = "idem::opened";
    /// The opening is on the disk, but not in the witness.
    pub(crate) const OPEN_SYNCED: &str = "idem::open-synced";
    /// All names that lead to the ledger are on the disk, but not in the witness.
    pub(crate) const NAMED: &str = "idem::named";
    /// A new witness is on the disk, but does not have its name.
    pub(crate) const WITNESS_SYNCED: &str = "idem::witness-synced";
    /// A new witness has its name, which is not synced.
    pub(crate) const WITNESS_NAMED: &str = "idem::witness-named";
    /// A ledger without a witness: what ran in its journal has moved.
    pub(crate) const SALVAGE_MOVED: &str = "idem::salvage-moved";
    /// A ledger without a witness: its buckets are listed anew, its journal is not.
    pub(crate) const SALVAGE_LISTED: &str = "idem::salvage-listed";
    /// The log is about to be synced. It can also fail.
    pub(crate) const SYNC: &str = "idem::sync";
    /// A folder was synced, and is still open.
    pub(crate) const FOLDER_SYNCED: &str = "idem::folder-synced";
    /// A new witness is made and empty. It can also fail with a full disk.
    pub(crate) const WITNESS_MADE: &str = "idem::witness-made";
    /// A copy is being made, and nothing is written meanwhile.
    pub(crate) const COPYING: &str = "idem::copying";
    /// The witness is about to be written. It can only fail.
    pub(crate) const WITNESS: &str = "idem::witness";
    /// The process asks for its id. If it fails, the process is a fork.
    pub(crate) const PROCESS: &str = "idem::process";
    /// A thread for a listing is about to start. It can only fail.
    pub(crate) const THREAD: &str = "idem::thread";
    /// A body is about to run.
    pub const BODY: &str = "idem::body";

    /// Returns the error of a refused write: `return(full)` is a full disk, `return` a broken one.
    pub(crate) fn refused(said: Option<&str>) -> io::Error {
        let errno = if said == Some("full") {
            rustix::io::Errno::NOSPC
        } else {
            rustix::io::Errno::IO
        };
        errno.into()
    }

    /// Every failpoint at which state is written, in the order in which a ledger passes them.
    pub const WRITES: [&str; 14] = [
        SALVAGE_MOVED,
        SALVAGE_LISTED,
        OPENING,
        OPENED,
        OPEN_SYNCED,
        NAMED,
        WITNESS_SYNCED,
        WITNESS_NAMED,
        DECIDED,
        APPLIED,
        FLUSHED,
        SYNCED,
        WITNESSED,
        ANSWERED,
    ];
}
