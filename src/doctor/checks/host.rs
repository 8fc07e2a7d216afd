//! What the host itself brings: its kernel, its rights, its CPU, its addresses.

use super::super::Finding;
use super::super::facts::{Cpu, Daemon, Host, Tun, TunFeature};

pub(super) fn check(host: &Host, daemon: Option<&Daemon>) -> Vec<Finding> {
    let mut findings = tun(&host.tun, &host.kernel);
    findings.push(capabilities(&host.missing_capabilities));
    findings.push(cpu(&host.cpu));
    findings.push(addresses(host, daemon));
    findings
}

fn tun(tun: &Tun, kernel: &str) -> Vec<Finding> {
    const NAME: &str = "tun";
    if let Some(why) = &tun.broken {
        return vec![Finding::fail(
            NAME,
            format!("no TAP device can be made: {why}"),
            "load the module with `modprobe tun`; in a container, give it /dev/net/tun and CAP_NET_ADMIN",
        )];
    }
    if tun.untried {
        return vec![Finding::unknown(NAME, "making a TAP device needs CAP_NET_ADMIN", "run `weft doctor` as root")];
    }
    let lost = tun.lacks.iter().map(|feature| {
        let (what, cost) = match feature {
            TunFeature::Checksum => ("checksum offload", "throughput falls to about a tenth"),
            TunFeature::Tso => ("TCP super-frames", "throughput falls to about a quarter"),
            TunFeature::TsoEcn => ("super-frames of flows with ECN", "such flows are cut up before they get to weft"),
            TunFeature::Uso => ("UDP super-frames", "many small datagrams cost more CPU"),
        };
        Finding::warn(NAME, format!("the TUN driver of Linux {kernel} lacks {what}: {cost}"), "use Linux 6.2 or later")
    });
    super::or_ok(lost.collect(), NAME, format!("the TUN driver of Linux {kernel} has all that speeds weft up"))
}

fn capabilities(missing: &[String]) -> Finding {
    const NAME: &str = "capabilities";
    if missing.is_empty() {
        return Finding::ok(NAME, "CAP_NET_ADMIN and CAP_SYS_ADMIN are there");
    }
    let seen = format!("this process lacks {}; of a daemon that would be fatal", missing.join(" and "));
    Finding::warn(NAME, seen, "run `weft up` and `weft doctor` as root")
}

fn cpu(cpu: &Cpu) -> Finding {
    const NAME: &str = "cpu";
    if cpu.aes && cpu.clmul {
        return Finding::ok(NAME, format!("{} with instructions for AES-GCM", cpu.arch));
    }
    let speed = if cpu.wide { "about two thirds" } else { "a third or less" };
    let seen = format!("{} without instructions for AES-GCM: ChaCha20-Poly1305 carries {speed} of it", cpu.arch);
    Finding::warn(NAME, seen, "in a virtual machine, pass the host's CPU through (AES-NI, PCLMULQDQ)")
}

fn addresses(host: &Host, daemon: Option<&Daemon>) -> Finding {
    const NAME: &str = "addresses";
    let list: Vec<_> = host.addresses.iter().map(|a| format!("{} on {}", a.ip, a.interface)).collect();
    let list = list.join(", ");
    let Some(used) = daemon.and_then(|daemon| daemon.advertise) else {
        let several = host.addresses.len() > 1;
        return match several {
            true => {
                Finding::warn(NAME, format!("several: {list}"), "name the one for tunnels: `weft up --advertise IP`")
            }
            false => Finding::ok(NAME, if list.is_empty() { "none but loopback".to_owned() } else { list }),
        };
    };
    if used.is_loopback() || host.addresses.iter().any(|address| address.ip == used) {
        return Finding::ok(NAME, format!("tunnels end at {used}; this host has {list}"));
    }
    let seen = format!("tunnels end at {used}, which no interface has any more; this host has {list}");
    Finding::fail(NAME, seen, "give the address back, or restart with `weft up --advertise IP`")
}
