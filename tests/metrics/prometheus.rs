//! Prometheus and Grafana beside the demo of `docker/`: what Compose mounts is there, and Prometheus itself runs on it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weft::lab::{Host, Lab, LabSpec, overlay};

use crate::harness::program::{Program, run};
use crate::harness::{eventually, privileged, weft};

const API: &str = "127.0.0.1:9090";

/// The files of the repository that Compose mounts into Prometheus and Grafana, and where.
fn mounted() -> Vec<(PathBuf, PathBuf)> {
    let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker");
    let compose = fs::read_to_string(docker.join("compose.yaml")).unwrap();
    let mounts = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.strip_suffix(":ro"));
    let mounts = mounts.map(|mount| mount.split_once(':').unwrap());
    mounts.map(|(from, to)| (docker.join(from), PathBuf::from(to))).collect()
}

#[test]
fn what_compose_mounts_is_there_and_grafana_is_told_where() {
    let mounted = mounted();
    assert_eq!(mounted.len(), 6, "{mounted:?}");
    for (from, _) in &mounted {
        assert!(from.is_file(), "{}", from.display());
    }
    let at = |to: &str| {
        let found = mounted.iter().find(|(_, place)| place == Path::new(to));
        fs::read_to_string(&found.unwrap_or_else(|| panic!("nothing is mounted at {to}")).0).unwrap()
    };
    at("/etc/grafana/dashboards/weft.json");
    assert!(at("/etc/grafana/provisioning/dashboards/weft.yml").contains("path: /etc/grafana/dashboards"));
    assert!(at("/etc/grafana/provisioning/datasources/weft.yml").contains("url: http://prometheus:9090"));
}

/// Asks Prometheus, which answers in one piece only those who speak HTTP/1.0.
fn ask(host: &Host, path: &str) -> Option<Value> {
    let answer = host.run(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(API)?;
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.unwrap().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let document: Value = serde_json::from_str(body).ok()?;
    (document["status"] == "success").then(|| document["data"].clone())
}

#[test]
fn prometheus_reads_the_demo_s_nodes_and_takes_the_rules() {
    privileged!();
    if Command::new("prometheus").arg("--version").output().is_err() {
        eprintln!("NOT RUN: prometheus is not installed");
        return;
    }
    let lab = Lab::build(LabSpec::new(3)).unwrap();
    let daemons = overlay::cluster(&lab, weft(), &["--metrics", "0.0.0.0:9469"]).unwrap();
    overlay::share(&lab, &daemons, "blue", &[]).unwrap();
    let host = &lab.hosts[0];
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    for (from, to) in mounted().iter().filter(|(_, to)| to.starts_with("/etc/prometheus")) {
        fs::copy(from, at(to.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    // In the demo Docker says where node1 is.
    let names = lab.hosts.iter().map(|host| format!("{} {}\n", host.address, host.name));
    fs::write(at("hosts"), names.collect::<String>()).unwrap();
    run(host, &["mount", "--bind", &at("hosts"), "/etc/hosts"], &[]);
    let config = format!("--config.file={}", at("prometheus.yml"));
    let data = format!("--storage.tsdb.path={}", at("data"));
    let listen = format!("--web.listen-address={API}");
    let _prometheus = Program::start(host, &["prometheus", &config, &data, &listen], &[], Path::new(&at("log")));

    eventually("all three nodes are read", || {
        let Some(found) = ask(host, "targets") else { return false };
        let found = found["activeTargets"].as_array().unwrap();
        found.len() == 3 && found.iter().all(|target| target["health"] == "up")
    });
    eventually("each rule was evaluated", || {
        let Some(found) = ask(host, "rules") else { return false };
        let rules = found["groups"][0]["rules"].as_array().unwrap();
        let alerts = fs::read_to_string(at("alerts.yml")).unwrap().matches("- alert:").count();
        rules.len() == alerts && rules.iter().all(|rule| rule["health"] == "ok")
    });
    eventually("what the nodes say is found", || {
        let ready = ask(host, "query?query=sum(weft_ready)");
        ready.is_some_and(|ready| ready["result"][0]["value"][1] == "3")
    });
}
