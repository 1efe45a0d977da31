//! The dashboard and the mails about dead letters.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use idem_ops::alert::Email;
use idem_ops::monitor::{Monitor, Policy, Watch};
use idem_ops::service::Service;
use idem_ops::{Auth, Secret};
use idem_runtime::Idem;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use crate::args::Args;

/// Short for a demonstration; a service sends fewer mails.
const DIGEST_EVERY: Duration = Duration::from_secs(10);

/// The dashboard, and the monitor if there is a mail server.
pub(crate) struct Ops {
    listener: TcpListener,
    dashboard: axum::Router,
    watch: Option<Watch>,
    /// Registered at the start, so that an early signal does not cut a delivery off.
    ended: (Signal, Signal),
}

impl Ops {
    /// Listens on `address`, prints the URL and the token on standard error, and starts the monitor.
    pub(crate) async fn start(
        idem: &Idem,
        address: SocketAddr,
        args: &Args,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let url: Url = format!("http://{}/", listener.local_addr()?).parse()?;
        // A generated token is shown; one from the environment is not.
        let (token, its_token) = match env::var("IDEM_TOKEN") {
            Ok(token) => (token, "in IDEM_TOKEN".to_owned()),
            Err(_) => {
                let token = uuid::Uuid::new_v4().simple().to_string();
                (token.clone(), token)
            }
        };
        let mut service = Service::from(idem);
        if let Some(folder) = &args.backups {
            service = service.backups_in(folder);
        }
        let dashboard = idem_ops::dashboard(service, Auth::token(Secret::new(token)));
        let watch = match &args.smtp {
            Some(smtp) => {
                let policy = Policy::default().digest_every(DIGEST_EVERY);
                let monitor = Monitor::new(idem, "orders")
                    .policy(policy)
                    .dashboard(url.clone());
                Some(monitor.channel(email(smtp, args)?).start()?)
            }
            None => None,
        };
        let hear = |kind| signal(kind).context("cannot wait for signals");
        let ended = (
            hear(SignalKind::interrupt())?,
            hear(SignalKind::terminate())?,
        );
        eprintln!("orders: the dashboard is at {url}, its token is {its_token}; Ctrl-C ends it");
        Ok(Self {
            listener,
            dashboard,
            watch,
            ended,
        })
    }

    /// Serves until the process is told to end, then finishes the requests that are running.
    pub(crate) async fn serve(self) -> anyhow::Result<()> {
        let (mut interrupt, mut terminate) = self.ended;
        let ended = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        idem_ops::serve(self.listener, self.dashboard)
            .until(ended)
            .await;
        if let Some(watch) = self.watch {
            watch.stop().await;
        }
        Ok(())
    }
}

fn email(smtp: &str, args: &Args) -> anyhow::Result<Email> {
    let mut email = Email::smtp(smtp).from(&args.mail_from);
    for to in &args.mail_to {
        email = email.to(to);
    }
    if env::var_os("SMTP_PASSWORD").is_some() {
        email = email.password(Secret::from_env("SMTP_PASSWORD")?);
    }
    Ok(email.build()?)
}
