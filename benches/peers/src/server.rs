//! A Redis or Valkey server of this run's own.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long one may take to start.
const START: Duration = Duration::from_secs(10);

/// A server on a free port of the loopback, stopped when this is dropped.
pub struct Server {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    /// Starts one; none where no program for it is on the `PATH`.
    pub fn start(persistence: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = ["redis-server", "valkey-server"]
            .into_iter()
            .find_map(|program| {
                let started = Command::new(program)
                    .args([
                        "--bind",
                        "127.0.0.1",
                        "--port",
                        &port.to_string(),
                        "--save",
                        "",
                        "--dir",
                    ])
                    .arg(folder.path())
                    .args(persistence)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn();
                match started {
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    started => Some(started.unwrap()),
                }
            })?;
        let mut server = Self {
            process,
            port,
            _folder: folder,
        };
        server.wait();
        Some(server)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                self.process.try_wait().unwrap().is_none(),
                "the server ended"
            );
            assert!(start.elapsed() < START, "the server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What it holds goes with its folder.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
