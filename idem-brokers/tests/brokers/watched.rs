//! A source that counts its deliveries by outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use idem_brokers::{BrokerError, Delivery, Publisher, Session, Source};
use idem_runtime::Origin;

/// The numbers of deliveries, and of the outcomes that the broker confirmed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    came: AtomicUsize,
    acked: AtomicUsize,
    again: AtomicUsize,
}

impl Counts {
    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    pub(crate) fn acked(&self) -> usize {
        self.acked.load(Ordering::SeqCst)
    }

    pub(crate) fn again(&self) -> usize {
        self.again.load(Ordering::SeqCst)
    }
}

/// A source whose deliveries are counted.
pub(crate) struct Watched<S> {
    source: S,
    counts: Arc<Counts>,
}

/// Wraps a source to count its deliveries.
pub(crate) fn watched<S: Source>(source: S) -> (Watched<S>, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    (
        Watched {
            source,
            counts: Arc::clone(&counts),
        },
        counts,
    )
}

impl<S: Source> Source for Watched<S> {
    type Session = Watched<S::Session>;

    fn name(&self) -> String {
        self.source.name()
    }

    fn places(&self) -> Vec<String> {
        self.source.places()
    }

    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        self.source.publisher()
    }

    fn destination(&self, origin: &Origin) -> String {
        self.source.destination(origin)
    }

    async fn connect(&self, prefetch: usize) -> Result<Self::Session, BrokerError> {
        Ok(Watched {
            source: self.source.connect(prefetch).await?,
            counts: Arc::clone(&self.counts),
        })
    }
}

impl<S: Session> Session for Watched<S> {
    type Delivery = Watched<S::Delivery>;

    async fn next(&mut self, room: usize) -> Result<Self::Delivery, BrokerError> {
        let source = self.source.next(room).await?;
        self.counts.came.fetch_add(1, Ordering::SeqCst);
        Ok(Watched {
            source,
            counts: Arc::clone(&self.counts),
        })
    }

    async fn close(self) {
        self.source.close().await;
    }
}

impl<D: Delivery> Delivery for Watched<D> {
    fn payload(&self) -> &[u8] {
        self.source.payload()
    }

    fn origin(&self) -> Origin {
        self.source.origin()
    }

    fn redelivered(&self) -> Option<u32> {
        self.source.redelivered()
    }

    async fn ack(self) -> Result<(), BrokerError> {
        self.source.ack().await?;
        self.counts.acked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        self.source.retry(after).await?;
        self.counts.again.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn progress_every(&self) -> Option<Duration> {
        self.source.progress_every()
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        self.source.in_progress().await
    }
}
