//! What a ledger can do.

/// What a [`Ledger`](super::Ledger) can do, for the runtime to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// How claims of dead processes are found.
    pub leases: Leases,
    /// Whether an attempt can [begin](super::Ledger::begin) a transaction.
    pub transactions: bool,
}

/// How a ledger finds out that the process that holds a claim is dead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leases {
    /// It has one process: at its opening, every claim is a dead one's.
    #[default]
    None,
    /// Each claim has a lease, which the runtime renews three times in each.
    PerClaim,
    /// The ledger keeps one lease for the whole process, and takes the claims of a process whose
    /// lease has lapsed. The claim's own lease is a ceiling for a body that hangs: the runtime
    /// extends it while the body runs, less often the longer it runs.
    PerProcess,
}

impl Capabilities {
    /// Returns the capabilities of a ledger without leases and transactions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how claims of dead processes are found.
    #[must_use]
    pub fn leases(mut self, leases: Leases) -> Self {
        self.leases = leases;
        self
    }

    /// Sets whether an attempt can begin a transaction.
    #[must_use]
    pub fn transactions(mut self, transactions: bool) -> Self {
        self.transactions = transactions;
        self
    }
}
