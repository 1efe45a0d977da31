//! A real SMTP server with STARTTLS or TLS from the start, and AUTH after TLS. A test can make it
//! misbehave.
//!
//! The protocol's states are `mailin`'s. The bytes are sent here, so a test decides about them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailin::{Action, AuthMechanism, Handler, Response, Session, SessionBuilder, response};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::tls::{self, Identity};
use crate::within;

/// The user that may log in.
pub const USER: &str = "alerts@example.com";
/// That user's password.
pub const PASSWORD: &str = "correct horse battery";

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// TLS after STARTTLS.
    StartTls,
    /// TLS from the start.
    Implicit,
    /// Without TLS and AUTH.
    Plain,
}

/// What the server does with the next connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Well,
    /// `RCPT` of this address, or of all with an empty one, gets this answer.
    Refuse(String, u16),
    /// The whole mail gets this answer at its end.
    RefuseMail(u16),
    /// Refuses every login, and repeats the password in its answer, also encoded.
    Echo,
    /// Does not answer a connection.
    Silent,
    /// Takes the mail and never answers.
    HangAfterMail,
    /// Closes after the mail's first line.
    DropInMail,
    /// Takes the whole mail and closes without an answer.
    DropAfterMail,
    /// Greets with these bytes.
    Nonsense(&'static [u8]),
    /// Answers are injected between client and server before TLS begins.
    Injected,
}

/// A mail as it came.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Whether it came through TLS.
    pub tls: bool,
    /// The user that had logged in.
    pub user: Option<String>,
    /// Headers and body.
    pub data: Vec<u8>,
}

/// A mail server; it ends when it is dropped.
pub struct SmtpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    mails: mpsc::UnboundedReceiver<Mail>,
    accepting: AbortHandle,
}

struct Shared {
    mode: Mode,
    auth: bool,
    identity: Identity,
    mood: Mutex<Mood>,
    mails: mpsc::UnboundedSender<Mail>,
    connections: AtomicUsize,
    hung: Notify,
}

impl SmtpServer {
    /// Starts a server, with AUTH if there is TLS.
    pub async fn start(mode: Mode) -> Self {
        Self::start_as(mode, &["127.0.0.1", "localhost"]).await
    }

    /// Starts a server with a certificate for these names.
    pub async fn start_as(mode: Mode, names: &[&str]) -> Self {
        let (sender, mails) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            mode,
            auth: mode != Mode::Plain,
            identity: tls::identity(names),
            mood: Mutex::new(Mood::Well),
            mails: sender,
            connections: AtomicUsize::new(0),
            hung: Notify::new(),
        });
        let (address, accepting) =
            listen((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&shared)).await;
        Self {
            address,
            shared,
            mails,
            accepting,
        }
    }

    /// Sets what it does with the next connections.
    pub fn mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Closes the port and every connection.
    pub async fn stop(&self) {
        self.accepting.abort();
        within(async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Opens the same port again.
    pub async fn come_back(&mut self) {
        (_, self.accepting) = listen(self.address, Arc::clone(&self.shared)).await;
    }

    /// Waits for the next mail.
    pub async fn mail(&mut self) -> Mail {
        within(self.mails.recv()).await.unwrap()
    }

    /// Returns the mails that were taken and not read.
    pub fn rest(&mut self) -> Vec<Mail> {
        std::iter::from_fn(|| self.mails.try_recv().ok()).collect()
    }

    /// Waits until a whole mail has arrived that gets no answer.
    pub async fn hung(&self) {
        within(self.shared.hung.notified()).await;
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How its connections are protected.
    pub fn mode(&self) -> Mode {
        self.shared.mode
    }

    /// Returns the certificate of its authority, as PEM.
    pub fn root(&self) -> &str {
        &self.shared.identity.root
    }

    /// The address without a user.
    pub fn url(&self) -> String {
        let port = self.port();
        match self.shared.mode {
            Mode::StartTls => format!("smtp://127.0.0.1:{port}?tls=required"),
            Mode::Implicit => format!("smtps://127.0.0.1:{port}"),
            Mode::Plain => format!("smtp://127.0.0.1:{port}?tls=none"),
        }
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn listen(address: SocketAddr, shared: Arc<Shared>) -> (SocketAddr, AbortHandle) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        // Dropped with this task, and its connections with it.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            connections.spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    (address, accepting.abort_handle())
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mood = shared.mood.lock().unwrap().clone();
    match mood {
        Mood::Silent => std::future::pending().await,
        Mood::Nonsense(bytes) => {
            stream.write_all(bytes).await?;
            return stream.shutdown().await;
        }
        _ => {}
    }
    let mut builder = SessionBuilder::new("mail.test");
    if shared.mode == Mode::StartTls {
        builder.enable_start_tls();
    }
    if shared.auth {
        builder
            .enable_auth(AuthMechanism::Plain)
            .enable_auth(AuthMechanism::Login);
    }
    if shared.mode == Mode::Implicit {
        // The session does not know of TLS from the start.
        builder.insecure_enable_plaintext_auth();
    }
    let postman = Postman {
        shared: Arc::clone(&shared),
        mail: Mail::default(),
        tls: shared.mode == Mode::Implicit,
    };
    let mut session = builder.build(Ipv4Addr::LOCALHOST.into(), postman);
    let greeting = session.greeting().buffer()?;
    if shared.mode == Mode::Implicit {
        let mut stream = shared.identity.acceptor.accept(stream).await?;
        stream.write_all(&greeting).await?;
        return talk(stream, &mut session, &mood, &shared).await.map(|_| ());
    }
    stream.write_all(&greeting).await?;
    if let Some(stream) = talk(stream, &mut session, &mood, &shared).await? {
        let stream = shared.identity.acceptor.accept(stream).await?;
        session.tls_active();
        talk(stream, &mut session, &mood, &shared).await?;
    }
    Ok(())
}

/// Talks to a client until the end, or until it asks for TLS: then returns the stream.
async fn talk<S>(
    stream: S,
    session: &mut Session<Postman>,
    mood: &Mood,
    shared: &Shared,
) -> io::Result<Option<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut in_mail = false;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        match mood {
            Mood::DropInMail if in_mail => return Ok(None),
            Mood::DropAfterMail if in_mail && line == b".\r\n" => return Ok(None),
            Mood::HangAfterMail if in_mail && line == b".\r\n" => {
                shared.hung.notify_one();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        // The session would take it for more of a mail that it refused.
        if !in_mail && line == b"QUIT\r\n" {
            stream.write_all(b"221 bye\r\n").await?;
            return Ok(None);
        }
        let answer = session.process(&line);
        let mut bytes = answer.buffer()?;
        in_mail = answer.code == 354 || (in_mail && answer.action == Action::NoReply);
        if answer.action == Action::UpgradeTls && *mood == Mood::Injected {
            bytes.extend_from_slice(b"250-mail.test\r\n250 AUTH PLAIN\r\n");
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        match answer.action {
            Action::Close => return Ok(None),
            Action::UpgradeTls => return Ok(Some(stream.into_inner())),
            Action::Reply | Action::NoReply => {}
        }
    }
}

struct Postman {
    shared: Arc<Shared>,
    mail: Mail,
    tls: bool,
}

impl Postman {
    fn mood(&self) -> Mood {
        self.shared.mood.lock().unwrap().clone()
    }

    fn login(&mut self, user: &str, password: &str) -> Response {
        self.tls = true;
        if self.mood() == Mood::Echo {
            let wire = [format!("\0{user}\0{password}"), password.to_owned()]
                .map(|text| STANDARD.encode(text));
            return Response::custom(535, format!("no {password} {wire:?} here"));
        }
        if user == USER && password == PASSWORD {
            self.mail.user = Some(user.to_owned());
            return response::AUTH_OK;
        }
        response::INVALID_CREDENTIALS
    }
}

impl Handler for Postman {
    fn mail(&mut self, _: std::net::IpAddr, _: &str, from: &str) -> Response {
        self.mail = Mail {
            from: from.to_owned(),
            user: self.mail.user.take(),
            tls: self.tls,
            ..Mail::default()
        };
        response::OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        match self.mood() {
            Mood::Refuse(whom, code) if whom.is_empty() || to.contains(&whom) => {
                Response::custom(code, format!("no <{to}> here"))
            }
            _ => {
                self.mail.to.push(to.to_owned());
                response::OK
            }
        }
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.mail.data.extend_from_slice(bytes);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        if let Mood::RefuseMail(code) = self.mood() {
            return Response::custom(code, "not this one".to_owned());
        }
        let _ = self.shared.mails.send(self.mail.clone());
        response::OK
    }

    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        self.login(user, password)
    }

    fn auth_login(&mut self, user: &str, password: &str) -> Response {
        self.login(user, password)
    }
}
