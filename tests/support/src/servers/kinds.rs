//! The kinds of servers that tests can start.

use std::env;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::keeper::Line;
use super::redis::REDIS_PROGRAM;
use super::{Needs, free_port};

/// One kind of server.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// How to install it.
    pub hint: &'static str,
    /// The environment variable with the address of a running server.
    pub variable: &'static str,
    /// Whether its tests run only if asked for by name.
    pub(super) asked_for: bool,
    pub(super) place: usize,
    /// The part of its address before host and port.
    pub(super) scheme: &'static str,
    pub(super) runs: Runs,
}

/// Where a server runs.
#[derive(Debug)]
pub(super) enum Runs {
    /// In processes of its own.
    Processes(Processes),
    /// In the test's process.
    #[cfg(feature = "kafka")]
    Inside,
}

/// A client's first bytes, and whether the answer so far is that of a server that is ready.
pub(super) type Hello = (&'static [u8], fn(&[u8]) -> bool);

#[derive(Debug)]
pub(super) struct Processes {
    pub(super) programs: &'static [&'static str],
    /// Returns the processes to start, in order, for a port of the loopback.
    pub(super) start: fn(&Path, Ports, Needs) -> anyhow::Result<Vec<Line>>,
    pub(super) hello: Hello,
    pub(super) tells: Tells,
}

/// Where a server tells its clients to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    /// To the address that they have.
    Nothing,
    /// To another port.
    Port,
    /// To the same port of another host.
    Host,
}

/// A server's ports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) own: u16,
    /// The port that clients are told: the proxy's, if there is one.
    pub(super) told: u16,
}

/// NATS with JetStream.
pub static NATS: Kind = Kind {
    name: "NATS",
    hint: "`apt-get install nats-server`",
    variable: "IDEM_TEST_NATS",
    asked_for: false,
    place: 1,
    scheme: "nats://",
    runs: Runs::Processes(Processes {
        programs: &["nats-server"],
        start: nats,
        hello: (b"", |answer| answer.starts_with(b"INFO ")),
        tells: Tells::Nothing,
    }),
};

/// RabbitMQ, one node.
pub static RABBITMQ: Kind = Kind {
    name: "RabbitMQ",
    hint: "`apt-get install rabbitmq-server`",
    variable: "IDEM_TEST_AMQP",
    asked_for: false,
    place: 2,
    scheme: "amqp://",
    runs: Runs::Processes(Processes {
        programs: &["rabbitmq-server", "epmd"],
        start: rabbitmq,
        // It accepts connections last, when everything else is up.
        hello: (b"AMQP\x00\x00\x09\x01", |answer| {
            answer.starts_with(b"\x01")
        }),
        tells: Tells::Nothing,
    }),
};

/// RabbitMQ that closes the channel of a consumer that holds a message for more than a second.
pub static HASTY_RABBITMQ: Kind = Kind {
    name: "RabbitMQ",
    hint: RABBITMQ.hint,
    variable: "IDEM_TEST_HASTY_AMQP",
    asked_for: false,
    place: 8,
    scheme: "amqp://",
    runs: Runs::Processes(Processes {
        programs: &["rabbitmq-server", "epmd"],
        start: hasty_rabbitmq,
        hello: (b"AMQP\x00\x00\x09\x01", |answer| {
            answer.starts_with(b"\x01")
        }),
        tells: Tells::Nothing,
    }),
};

/// librdkafka's own cluster of one broker, which speaks Kafka's protocol inside the test's process.
#[cfg(feature = "kafka")]
pub static MOCK_KAFKA: Kind = Kind {
    name: "Kafka's mock",
    hint: "it is there",
    // It is always the test's own.
    variable: "IDEM_TEST_MOCK_KAFKA",
    asked_for: false,
    place: 3,
    scheme: "",
    runs: Runs::Inside,
};

/// A Kafka broker, tansu, which forgets everything when it ends.
pub static KAFKA: Kind = Kind {
    name: "Kafka",
    hint: "`cargo xtask test --with kafka`",
    variable: "IDEM_TEST_KAFKA",
    asked_for: true,
    place: 4,
    scheme: "",
    runs: Runs::Processes(Processes {
        programs: &["tansu"],
        start: kafka,
        // Which requests it knows: a request's length, kind, version and number, and no client's
        // name.
        hello: (
            b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff",
            |answer| answer.starts_with(b"\x00\x00"),
        ),
        tells: Tells::Port,
    }),
};

/// How many kinds there are.
pub(super) const KINDS: usize = 12;

impl Processes {
    /// Whether it answers.
    pub(super) async fn is_ready(&self, port: u16) -> bool {
        let asked = timeout(Duration::from_secs(2), async {
            let mut wire = TcpStream::connect(("127.0.0.1", port)).await?;
            wire.write_all(self.hello.0).await?;
            let mut answer = Vec::new();
            while !self.hello.1(&answer) {
                if wire.read_buf(&mut answer).await? == 0 {
                    return Ok(false);
                }
            }
            std::io::Result::Ok(true)
        });
        matches!(asked.await, Ok(Ok(true)))
    }
}

impl Kind {
    /// Whether it is on this machine.
    pub(super) fn is_there(&self) -> bool {
        match &self.runs {
            Runs::Processes(processes) => {
                processes.programs.iter().all(|name| find(name).is_some())
            }
            #[cfg(feature = "kafka")]
            Runs::Inside => true,
        }
    }

    /// The address of a server that runs outside of the tests.
    pub(super) fn outside(&self) -> Option<String> {
        env::var(self.variable).ok()
    }

    /// What to do where there is none.
    pub(super) fn missed(&self, needs: Needs) -> String {
        let elsewhere = match needs {
            Needs::Any => format!(", or say where one runs in {}", self.variable),
            Needs::Own => " (it is killed, so it has to be the test's own)".to_owned(),
        };
        format!("no {}: {}{elsewhere}", self.name, self.hint)
    }

    pub(super) fn address(&self, port: u16) -> String {
        format!("{}127.0.0.1:{port}", self.scheme)
    }
}

/// Finds a program in the path, where Debian puts servers, and where its RabbitMQ has the script that
/// keeps the environment.
pub fn find(name: &str) -> Option<PathBuf> {
    // Such as that of Valkey, which takes the same settings.
    let other = env::var(REDIS_PROGRAM)
        .ok()
        .filter(|_| name == "redis-server");
    let name = other.as_deref().unwrap_or(name);
    let path = env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/lib/rabbitmq/bin", "/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    known
        .into_iter()
        .chain(newest_postgres())
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Debian keeps PostgreSQL's versions side by side, outside of the path.
fn newest_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let numbered = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        Some((number, version.path().join("bin")))
    });
    Some(numbered.max()?.1)
}

pub(super) fn line(name: &str, arguments: &[&str]) -> Line {
    let program = find(name).unwrap_or_else(|| name.into());
    let arguments = arguments.iter().map(ToString::to_string).collect();
    Line {
        program: program.display().to_string(),
        arguments,
        variables: Vec::new(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the other kinds")]
fn nats(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    let (folder, port) = (
        folder.join("js").display().to_string(),
        ports.own.to_string(),
    );
    Ok(vec![line(
        "nats-server",
        &["-a", "127.0.0.1", "-p", &port, "-js", "-sd", &folder],
    )])
}

fn rabbitmq(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    rabbitmq_with(folder, ports, "")
}

/// The broker looks at the time that a message is held with each tick of its channel.
fn hasty_rabbitmq(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    let timeout = ", {consumer_timeout, 3000}, {channel_tick_interval, 500}";
    rabbitmq_with(folder, ports, timeout)
}

fn rabbitmq_with(folder: &Path, ports: Ports, settings: &str) -> anyhow::Result<Vec<Line>> {
    let port = ports.own;
    let (config, plugins) = (folder.join("rabbitmq.conf"), folder.join("enabled_plugins"));
    std::fs::write(&config, format!("listeners.tcp.1 = 127.0.0.1:{port}\n"))?;
    std::fs::write(&plugins, "[].\n")?;
    // A message whose pause ends while the node comes back may find its queue missing. It is
    // delivered again after this time, three minutes by default.
    let advanced = folder.join("advanced.config");
    std::fs::write(
        &advanced,
        format!(
            "[{{rabbit, [{{dead_letter_worker_publisher_confirm_timeout, 2000}}{settings}]}}].\n"
        ),
    )?;
    // Each start finds new ports; the node's name stays, or it would not know its own files.
    let (names, nodes) = (free_port()?, free_port()?);
    let epmd = line(
        "epmd",
        &["-port", &names.to_string(), "-address", "127.0.0.1"],
    );
    let mut node = line("rabbitmq-server", &[]);
    let path = |path: &Path| path.display().to_string();
    node.variables = vec![
        ("HOME", path(folder)),
        ("RABBITMQ_NODENAME", format!("t{port}@localhost")),
        ("RABBITMQ_DIST_PORT", nodes.to_string()),
        ("ERL_EPMD_PORT", names.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_MNESIA_BASE", path(&folder.join("data"))),
        ("RABBITMQ_LOG_BASE", path(&folder.join("log"))),
        ("RABBITMQ_CONFIG_FILE", path(&config)),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path(&advanced)),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path(&plugins)),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
        // Two schedulers are enough for tests that share the machine with others.
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2".to_owned()),
    ];
    Ok(vec![epmd, node])
}

#[expect(clippy::unnecessary_wraps, reason = "as the other kinds")]
fn kafka(_: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    let (own, told) = (
        format!("tcp://127.0.0.1:{}", ports.own),
        format!("tcp://127.0.0.1:{}", ports.told),
    );
    let listen = ["--listener-url", &own, "--advertised-listener-url", &told];
    let rest = [
        "--cluster-id",
        "test",
        "--storage-engine",
        "memory://tansu/",
    ];
    Ok(vec![line(
        "tansu",
        &[&["broker"], &listen[..], &rest].concat(),
    )])
}
