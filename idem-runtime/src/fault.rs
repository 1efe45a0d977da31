//! The places where a test can make the ledger die or fail: the `fail` crate's points, and nothing
//! at all in a build without the feature `failpoints`.

/// A place, and what it returns when a test tells it to fail.
macro_rules! point {
    ($name:ident $(, $failure:expr)?) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!(crate::fault::$name $(, $failure)?);
    };
}
#[cfg(feature = "sled")]
pub(crate) use point;

#[cfg(feature = "failpoints")]
pub(crate) use points::*;

/// This process's id. One that was forked has another than the one that opened its ledger.
pub(crate) fn process() -> u32 {
    point!(PROCESS, |_| 0);
    std::process::id()
}

#[cfg(feature = "failpoints")]
mod points {
    use std::io;

    /// A group is decided, and nothing of it is written; this one can also be told to fail, as
    /// [`refused`] says.
    pub(crate) const DECIDED: &str = "idem::decided";
    /// Its batch is in sled's memory; this one can also be told to fail, as [`refused`] says.
    pub(crate) const APPLIED: &str = "idem::applied";
    /// Its batch is with the operating system, and not synced; this one can also be told to fail,
    /// as [`refused`] says.
    pub(crate) const FLUSHED: &str = "idem::flushed";
    /// It is on the disk; the witness does not know.
    pub(crate) const SYNCED: &str = "idem::synced";
    /// The witness knows; nobody is answered.
    pub(crate) const WITNESSED: &str = "idem::witnessed";
    /// Its callers are answered.
    pub(crate) const ANSWERED: &str = "idem::answered";
    /// The log's pages behind the last acknowledged group are forgotten, and read from the disk
    /// next.
    pub(crate) const FORGOTTEN: &str = "idem::forgotten";
    /// The ledger is read at its opening, and nothing is written.
    pub(crate) const OPENING: &str = "idem::opening";
    /// The opening is with the operating system, and not synced.
    pub(crate) const OPENED: &str = "idem::opened";
    /// The opening is on the disk; the witness does not know.
    pub(crate) const OPEN_SYNCED: &str = "idem::open-synced";
    /// All names that lead to the ledger are on the disk; the witness does not know.
    pub(crate) const NAMED: &str = "idem::named";
    /// A new witness is on the disk, and has not its name.
    pub(crate) const WITNESS_SYNCED: &str = "idem::witness-synced";
    /// A new witness has its name, and its name is not synced.
    pub(crate) const WITNESS_NAMED: &str = "idem::witness-named";
    /// A ledger without a witness: what ran in its journal has moved.
    pub(crate) const RESCUE_MOVED: &str = "idem::rescue-moved";
    /// A ledger without a witness: its buckets are listed anew, its journal is not.
    pub(crate) const RESCUE_LISTED: &str = "idem::rescue-listed";
    /// The log is about to be synced; this one can also be told to fail.
    pub(crate) const SYNC: &str = "idem::sync";
    /// A folder was synced, and is still open.
    pub(crate) const FOLDER_SYNCED: &str = "idem::folder-synced";
    /// A new witness is made and empty; its first write can be told to find no room.
    pub(crate) const WITNESS_MADE: &str = "idem::witness-made";
    /// A copy is being made, and nothing is written meanwhile.
    pub(crate) const COPYING: &str = "idem::copying";
    /// The witness is about to be written; this one can only be told to fail.
    pub(crate) const WITNESS: &str = "idem::witness";
    /// Which process this is, when told to fail: a fork of the one that it is.
    pub(crate) const PROCESS: &str = "idem::process";
    /// A thread for a listing is about to start; this one can only be told to fail.
    pub(crate) const THREAD: &str = "idem::thread";
    /// A body is about to run.
    pub(crate) const BODY: &str = "idem::body";

    /// What the system says when it refuses a write: `return(full)` is a full disk, `return` a
    /// broken one.
    pub(crate) fn refused(said: Option<&str>) -> io::Error {
        let errno = if said == Some("full") {
            rustix::io::Errno::NOSPC
        } else {
            rustix::io::Errno::IO
        };
        errno.into()
    }

    /// Every place where state is written, in the order in which a ledger comes by.
    pub(crate) const WRITES: [&str; 14] = [
        RESCUE_MOVED,
        RESCUE_LISTED,
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
