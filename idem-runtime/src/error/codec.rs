//! Where a value could not be turned into JSON or back.

/// What could not be turned into JSON or back, in an [`Error::Codec`](crate::Error::Codec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodecStage {
    /// The call's arguments; nothing ran.
    Arguments,
    /// The result that the body returned; the message is a dead letter.
    BodyResult,
    /// The recorded result of an earlier call; nothing ran, and the message stays done.
    RecordedResult,
}

impl CodecStage {
    /// What happened.
    pub(super) fn failed(self) -> &'static str {
        match self {
            Self::Arguments => "the arguments cannot be turned into JSON",
            Self::BodyResult => {
                "the body returned, but its result cannot be recorded for duplicates"
            }
            Self::RecordedResult => {
                "done before, but the recorded result no longer decodes as the handler's result type"
            }
        }
    }

    /// What became of the message, and what to do.
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Arguments => "Nothing ran",
            Self::BodyResult => "The message is a dead letter and will not run again",
            Self::RecordedResult => {
                "Nothing ran. Make the type read what was recorded, or turn it into today's with \
                 `version = …, upgrade = path`"
            }
        }
    }
}
