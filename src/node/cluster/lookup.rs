//! Where `--join HOST[:PORT]` is.
//!
//! A name goes in, addresses come out: those of `/etc/hosts`, else what the name servers of `/etc/resolv.conf` say, with
//! its search list and time-outs. The resolver is in Rust because the C library's loads modules (nsswitch) at run time,
//! which a static binary cannot do without the very same C library beside it: it crashes where they differ.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::timeout;

use crate::node::state::CONTROL_PORT;

/// How long name servers may take, whatever `/etc/resolv.conf` says of time-outs, attempts and search lists.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the name servers are written down.
const SERVERS: &str = "/etc/resolv.conf";

/// The addresses of `HOST`, `HOST:PORT`, `ADDRESS` or `[ADDRESS]:PORT`, at least one.
pub(super) async fn lookup(host: &str) -> Result<Vec<SocketAddr>> {
    let (name, port) = match target(host)? {
        Target::Address(address) => return Ok(vec![address]),
        Target::Name(name, port) => (name, port),
    };
    let found = addresses(name)
        .await
        .map_err(|why| anyhow!("cannot find the host {name} of --join: {why:#}; check the name, or give an address"))?;
    Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// What a user wrote.
#[derive(PartialEq, Eq, Debug)]
enum Target<'a> {
    Address(SocketAddr),
    Name(&'a str, u16),
}

fn target(host: &str) -> Result<Target<'_>> {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(Target::Address(address));
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Target::Address(SocketAddr::new(address, CONTROL_PORT)));
    }
    let (name, port) = match host.rsplit_once(':') {
        None => (host, CONTROL_PORT),
        Some((name, port)) => match port.parse() {
            Ok(port) if port != 0 => (name, port),
            _ => bail!("`{host}` of --join is no host: `{port}` is no port; write HOST, HOST:PORT or [ADDRESS]:PORT"),
        },
    };
    let odd = |sign: char| sign.is_whitespace() || sign.is_control() || ":/[]@".contains(sign);
    if name.is_empty() || name.contains(odd) {
        bail!("`{}` of --join is no host: write HOST, HOST:PORT or [ADDRESS]:PORT", host.escape_debug());
    }
    Ok(Target::Name(name, port))
}

/// Files first, then name servers, as `hosts: files dns` in nsswitch.conf says.
async fn addresses(name: &str) -> Result<Vec<IpAddr>> {
    let name = Name::from_str_relaxed(name).context("that is no name of a host")?;
    let here = written_down(&name);
    if !here.is_empty() {
        return Ok(here);
    }
    let (config, mut options) = read_system_conf()
        .map_err(|error| anyhow!("/etc/hosts has no such name, nor {SERVERS} a name server: {error}"))?;
    let servers: Vec<_> = config.name_servers().iter().map(|server| server.ip.to_string()).collect();
    let servers = servers.join(", ");
    // In which family the cluster lives is for whoever tries the addresses.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    let resolver = resolver.build().context("the resolver does not start")?;
    let found = match timeout(PATIENCE, resolver.lookup_ip(name)).await {
        Ok(Ok(found)) => found.iter().collect(),
        Ok(Err(error)) if error.is_no_records_found() => Vec::new(),
        Ok(Err(error)) => bail!("the name servers of {SERVERS} ({servers}) do not help: {error}"),
        Err(_) => bail!("the name servers of {SERVERS} ({servers}) did not answer within {} s", PATIENCE.as_secs()),
    };
    ensure!(
        !found.is_empty(),
        "neither /etc/hosts nor the name servers of {SERVERS} ({servers}) have an address for it"
    );
    Ok(found)
}

/// What `/etc/hosts` says of a name, whatever the search list would make of it.
fn written_down(name: &Name) -> Vec<IpAddr> {
    let hosts = Hosts::from_system().unwrap_or_default();
    let lookup = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(lookup).map(LookupIp::from);
    found.flat_map(|lookup| lookup.iter().collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_a_port() {
        let address = |text: &str| Target::Address(text.parse().unwrap());
        assert_eq!(target("192.0.2.1").unwrap(), address("192.0.2.1:7956"));
        assert_eq!(target("192.0.2.1:80").unwrap(), address("192.0.2.1:80"));
        assert_eq!(target("2001:db8::1").unwrap(), address("[2001:db8::1]:7956"));
        assert_eq!(target("[2001:db8::1]").unwrap(), address("[2001:db8::1]:7956"));
        assert_eq!(target("[2001:db8::1]:80").unwrap(), address("[2001:db8::1]:80"));
        assert_eq!(target("member").unwrap(), Target::Name("member", CONTROL_PORT));
        assert_eq!(target("member.example.:80").unwrap(), Target::Name("member.example.", 80));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in
            ["", ":80", "member:", "member:0", "member:65536", "a b", "a:b:1", "[member]:1", "http://member", "a@b"]
        {
            let said = target(bad).unwrap_err().to_string();
            assert!(said.contains("--join") && said.contains("HOST:PORT"), "{bad:?}: {said}");
        }
    }
}
