//! The scripts. Each is one atomic step of the server, and its files follow one another as it runs them.

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Open,
    Accept,
    Read,
    Write,
    Reserve,
    Beat,
    Retire,
    Due,
    Waiting,
    RemoveDue,
    Letter,
    Letters,
    CountLetters,
    RemoveLetters,
    ReadNotes,
    ChangeNotes,
}

impl Script {
    /// Returns whether it changes nothing.
    pub(crate) fn only_reads(self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Due
                | Self::Waiting
                | Self::Letter
                | Self::Letters
                | Self::CountLetters
                | Self::ReadNotes
        )
    }
}

macro_rules! lua {
    ($($file:literal)+) => { concat!($(include_str!(concat!("lua/", $file, ".lua")), "\n",)+) };
}

/// The texts, in the order of the scripts.
pub(crate) const TEXTS: [&str; 16] = [
    lua!("open"),
    lua!("accept"),
    lua!("begin" "row" "read"),
    lua!("begin" "notes" "write"),
    lua!("begin" "reserve"),
    lua!("begin" "beat"),
    lua!("begin" "retire"),
    lua!("begin" "row" "due"),
    lua!("begin" "waiting"),
    lua!("begin" "remove_due"),
    lua!("begin" "letter"),
    lua!("begin" "letters"),
    lua!("begin" "count_letters"),
    lua!("begin" "remove_letters"),
    lua!("begin" "read_notes"),
    lua!("begin" "notes" "change_notes"),
];
