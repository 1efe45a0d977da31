//! RocketMQ: a name server, and a broker that it knows.

use std::path::Path;

use anyhow::Context;

use super::keeper::Line;
use super::kinds::{Kind, Ports, Processes, Runs, Tells, line};
use super::proxy::BEHIND;
use super::{Needs, free_port, is_free};

/// A name server and a broker, whose pauses are all one second.
pub static ROCKETMQ: Kind = Kind {
    name: "RocketMQ",
    hint: "`cargo xtask test --with rocketmq`",
    variable: "IDEM_TEST_ROCKETMQ",
    asked_for: true,
    place: 5,
    scheme: "",
    runs: Runs::Processes(Processes {
        programs: &["rocketmq-namesrv-rust", "rocketmq-broker-rust"],
        start,
        // The name server is asked for its brokers.
        hello: (ASK, |answer| {
            answer.windows(BROKER.len()).any(|part| part == BROKER)
        }),
        // The broker does.
        tells: Tells::Host,
    }),
};

/// `GET_BROKER_CLUSTER_INFO`: the whole's length, the header's, and the header.
const ASK: &[u8] = b"\x00\x00\x00\x63\x00\x00\x00\x5f\
    {\"code\":106,\"language\":\"JAVA\",\"version\":0,\"opaque\":1,\"flag\":0,\"serializeTypeCurrentRPC\":\"JSON\"}";
const BROKER: &[u8] = b"brokerAddrs";

fn start(folder: &Path, ports: Ports, _: Needs) -> anyhow::Result<Vec<Line>> {
    let port = ports.own.to_string();
    let config = folder.join("broker.toml");
    if !config.is_file() {
        std::fs::write(&config, broker(folder, ports)?)?;
    }
    let (home, config) = (folder.display().to_string(), config.display().to_string());
    let mut names = line(
        "rocketmq-namesrv-rust",
        &["--bindAddress", "127.0.0.1", "--listenPort", &port],
    );
    let mut broker = line("rocketmq-broker-rust", &["--configFile", &config]);
    for one in [&mut names, &mut broker] {
        one.variables = vec![
            ("HOME", home.clone()),
            ("ROCKETMQ_HOME", home.clone()),
            (
                "ROCKETMQ_SECURITY_PROFILE",
                "development-insecure-loopback".to_owned(),
            ),
        ];
    }
    Ok(vec![names, broker])
}

/// Returns the broker's line. Its port stays, because the clients know it; a proxy in front of it
/// has the same port on the host that they are told.
fn broker(
    folder: &Path,
    Ports {
        own: name_server,
        told,
    }: Ports,
) -> anyhow::Result<String> {
    let ports = std::iter::repeat_with(free_port)
        .take(100)
        .filter_map(Result::ok);
    // It listens on a second one, two below.
    let mut pairs = ports.filter(|port| port.abs_diff(name_server) > 2 && is_free(port - 2));
    let port = if told == name_server {
        pairs.next().context("no two free ports on the loopback")?
    } else {
        told
    };
    let (host, replicas) = (
        if told == name_server {
            "127.0.0.1"
        } else {
            BEHIND
        },
        free_port()?,
    );
    let store = folder.join("store").display().to_string();
    Ok(format!(
        r#"
[broker]
listenPort = {port}
brokerIp1 = "127.0.0.1"
namesrvAddr = "127.0.0.1:{name_server}"
storePathRootDir = "{store}"
registerNameServerPeriod = 10000

[broker.brokerServerConfig]
bindAddress = "{host}"

[store]
storePathRootDir = "{store}"
haListenAddress = "127.0.0.1"
haListenPort = {replicas}
messageDelayLevel = "1s"
mappedFileSizeCommitLog = 16777216
"#
    ))
}
