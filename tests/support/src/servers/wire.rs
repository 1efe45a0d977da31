//! A connection to any server that can be cut or stalled.

#[cfg(feature = "kafka")]
use anyhow::bail;

use super::Server;
#[cfg(feature = "kafka")]
use super::mock::Mock;
use super::proxy::Proxy;

/// A connection to a server that can be cut, stalled and mended.
#[derive(Debug)]
pub struct Wire<'a> {
    address: String,
    way: Way<'a>,
}

#[derive(Debug)]
enum Way<'a> {
    /// Cuts only clients that use its address.
    Aside(Proxy),
    /// Cuts all clients.
    Front(&'a Proxy),
    #[cfg(feature = "kafka")]
    Inside(&'a Mock),
}

impl<'a> Wire<'a> {
    pub(super) fn aside(address: String, proxy: Proxy) -> Self {
        Self {
            address,
            way: Way::Aside(proxy),
        }
    }

    pub(super) fn front(address: String, proxy: &'a Proxy) -> Self {
        Self {
            address,
            way: Way::Front(proxy),
        }
    }

    #[cfg(feature = "kafka")]
    pub(super) fn inside(address: String, mock: &'a Mock) -> Self {
        Self {
            address,
            way: Way::Inside(mock),
        }
    }

    /// Returns the server's address at this end.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections and accepts no others.
    ///
    /// # Errors
    /// If the server does not do it.
    pub fn cut(&self) -> anyhow::Result<()> {
        match &self.way {
            Way::Aside(proxy) => proxy.cut(),
            Way::Front(proxy) => proxy.cut(),
            #[cfg(feature = "kafka")]
            Way::Inside(mock) => mock.go_down()?,
        }
        Ok(())
    }

    /// Lets connections through again, and the bytes that were held back.
    ///
    /// # Errors
    /// If the server does not do it.
    pub fn mend(&self) -> anyhow::Result<()> {
        match &self.way {
            Way::Aside(proxy) => proxy.mend(),
            Way::Front(proxy) => proxy.mend(),
            #[cfg(feature = "kafka")]
            Way::Inside(mock) => mock.come_up()?,
        }
        Ok(())
    }

    /// Holds every byte back in both directions, also of new connections.
    ///
    /// # Errors
    /// If the server runs inside the test's process; so do the methods below.
    pub fn stall(&self) -> anyhow::Result<()> {
        self.proxy().map(Proxy::stall)
    }

    /// Lets new connections through, and never again a byte through those that are there.
    pub fn lose(&self) -> anyhow::Result<()> {
        self.proxy().map(Proxy::lose)
    }

    /// Leads new connections to another server of the test's own.
    pub fn lead_to(&self, server: &Server) -> anyhow::Result<()> {
        let port = server.running()?.port;
        self.proxy().map(|proxy| proxy.lead_to(port))
    }

    fn proxy(&self) -> anyhow::Result<&Proxy> {
        match &self.way {
            Way::Aside(proxy) => Ok(proxy),
            Way::Front(proxy) => Ok(proxy),
            #[cfg(feature = "kafka")]
            Way::Inside(_) => bail!("no bytes pass to a server of this process"),
        }
    }
}
