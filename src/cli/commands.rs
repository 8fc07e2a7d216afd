//! The commands that ask a daemon: arguments become a request, its answer becomes a document.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use weft_proto::v1;

use super::args::{
    AttachArgs, Command, CreateArgs, Global, MembersCommand, NetworkCommand, SignerCommand, TokenCommand,
};
use super::client::{Client, answer, connect, is_transport, refusal};
use super::progress::Progress;
use super::style::Style;
use super::{capture, output, print, trace, view};

/// Runs a command of the client.
pub(super) fn run(command: Command, global: &Global) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the client")?.block_on(async {
        // These show what comes, as it comes.
        let endless = matches!(command, Command::Events { follow: true } | Command::Capture(_));
        let progress = Progress::unless(global.json || endless, "waiting for the daemon");
        let client = connect(&global.socket).await?;
        let (json, style) = (global.json, Style::of_stdout());
        Session { client, json, style, progress: Cell::new(progress) }.run(command).await
    })
}

struct Session {
    client: Client,
    json: bool,
    style: Style,
    /// Until there is something to show.
    progress: Cell<Option<Progress>>,
}

impl Session {
    async fn run(mut self, command: Command) -> Result<ExitCode> {
        match command {
            Command::Up(_)
            | Command::Demo(_)
            | Command::Doctor { .. }
            | Command::PluginShim(_)
            | Command::Top(_)
            | Command::Completions { .. }
            | Command::Man { .. } => {
                bail!("this command asks no daemon")
            }
            Command::Network(NetworkCommand::Create(args)) => self.create(args).await?,
            Command::Network(NetworkCommand::Ls) => {
                let networks = answer(self.client.list_networks(v1::ListNetworksRequest {}).await)?.networks;
                let networks: Vec<_> = networks.into_iter().map(view::Network::from).collect();
                self.show(&networks, |n| print::networks(n, self.style))?;
            }
            Command::Network(NetworkCommand::Inspect { name }) => {
                let request = v1::InspectNetworkRequest { network: name };
                let network = view::Network::from(answer(self.client.inspect_network(request).await)?);
                let pretty = serde_json::to_string_pretty(&network)?;
                self.show(&network, |_| print::json(&pretty, self.style))?;
            }
            Command::Network(NetworkCommand::Rm { name }) => {
                let request = v1::RemoveNetworkRequest { network: name };
                let removed = view::Removed::from(answer(self.client.remove_network(request).await)?);
                self.show(&removed, |r| format!("{}\n", r.name))?;
            }
            Command::Attach(args) => self.attach(args).await?,
            Command::Detach { endpoint } => {
                let request = v1::DetachRequest { endpoint };
                let detached = view::Detached::from(answer(self.client.detach(request).await)?);
                self.show(&detached, |d| format!("{}\n", d.endpoint))?;
            }
            Command::Status => return self.status().await,
            Command::Members { command: Some(MembersCommand::Rm { node }) } => {
                let request = v1::RemoveMemberRequest { member: node };
                let removed = view::Member::from(answer(self.client.remove_member(request).await)?);
                self.show(&removed, |m| format!("{}\n", m.name))?;
            }
            Command::Members { command: None | Some(MembersCommand::Ls) } => {
                let members = answer(self.client.members(v1::MembersRequest {}).await)?.members;
                let members: Vec<_> = members.into_iter().map(view::Member::from).collect();
                self.show(&members, |m| print::members(m, self.style))?;
            }
            Command::Fdb { network } => {
                let entries = answer(self.client.fdb(v1::FdbRequest { network }).await)?.entries;
                let entries: Vec<_> = entries.into_iter().map(view::FdbEntry::from).collect();
                self.show(&entries, |e| print::fdb(e, self.style))?;
            }
            Command::Neigh { network } => {
                let neighbors = answer(self.client.neighbors(v1::NeighborsRequest { network }).await)?.neighbors;
                let neighbors: Vec<_> = neighbors.into_iter().map(view::Neighbor::from).collect();
                self.show(&neighbors, |n| print::neighbors(n, self.style))?;
            }
            Command::Events { follow } => self.events(follow).await?,
            Command::Trace(args) => {
                let (trace, status) = trace::ask(&mut self.client, args).await?;
                self.show(&trace, |t| trace::text(t, self.style))?;
                return Ok(status);
            }
            Command::Capture(args) => capture::run(&mut self.client, args, self.json).await?,
            Command::Rekey => {
                let done = view::Rekeyed::from(answer(self.client.rekey(v1::RekeyRequest {}).await)?);
                self.show(&done, |d| format!("new keys with {} peers\n", d.peers))?;
            }
            Command::Leave => {
                answer(self.client.leave(v1::LeaveRequest {}).await)?;
                self.show(&view::Left { left: true }, |_| "left the cluster\n".to_owned())?;
            }
            Command::Token(command) => self.token(command).await?,
            Command::Signer(command) => {
                let (member, signer) = match command {
                    SignerCommand::Add { node } => (node, true),
                    SignerCommand::Rm { node } => (node, false),
                };
                let request = v1::SetSignerRequest { member, signer };
                let member = view::Member::from(answer(self.client.set_signer(request).await)?);
                self.show(&member, |m| format!("{}\n", m.name))?;
            }
            Command::Stats => {
                let stats = view::Stats::from(answer(self.client.stats(v1::StatsRequest {}).await)?);
                self.show(&stats, |s| print::stats(s, self.style))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show<T: Serialize>(&self, document: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        drop(self.progress.take());
        if self.json { output(&(serde_json::to_string(document)? + "\n")) } else { output(&text(document)) }
    }

    async fn status(mut self) -> Result<ExitCode> {
        let status = view::Status::from(answer(self.client.status(v1::StatusRequest {}).await)?);
        self.show(&status, |s| print::status(s, self.style))?;
        if !status.ready {
            bail!("the node {} is not ready yet: it is restoring its endpoints, ask again in a moment", status.node);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What happened as one document; with `follow` one document to a line, since there is no end.
    async fn events(&mut self, follow: bool) -> Result<()> {
        let mut events = answer(self.client.events(v1::EventsRequest { follow }).await)?;
        let mut listed = Vec::new();
        loop {
            let event = match events.message().await {
                Ok(Some(event)) => event,
                Ok(None) => break,
                // A follower is told of the daemon's end below, however it came.
                Err(status) if follow && is_transport(&status) => break,
                Err(status) => return Err(refusal(status)),
            };
            let event = view::Event::from(event);
            match (follow, self.json) {
                (true, true) => output(&(serde_json::to_string(&event)? + "\n"))?,
                (true, false) => output(&print::event(&event, self.style))?,
                (false, _) => listed.push(event),
            }
        }
        if follow {
            bail!("the daemon has ended, and with it what there was to follow; see its log, then `weft status`");
        }
        self.show(&listed, |events| events.iter().map(|e| print::event(e, self.style)).collect())
    }

    async fn token(&mut self, command: TokenCommand) -> Result<()> {
        match command {
            TokenCommand::Create { ttl, uses } => {
                let request = v1::CreateTokenRequest { ttl_seconds: ttl.as_secs(), uses: uses.unwrap_or(0) };
                let token = view::Token::from(answer(self.client.create_token(request).await)?);
                self.show(&token, |t| format!("{}\n", t.token.as_deref().unwrap_or_default()))
            }
            TokenCommand::Ls => {
                let tokens = answer(self.client.list_tokens(v1::ListTokensRequest {}).await)?.tokens;
                let tokens: Vec<_> = tokens.into_iter().map(view::Token::from).collect();
                self.show(&tokens, |t| print::tokens(t, self.style))
            }
            TokenCommand::Rm { id } => {
                let token = view::Token::from(answer(self.client.remove_token(v1::RemoveTokenRequest { id }).await)?);
                self.show(&token, |t| format!("{}\n", t.id))
            }
        }
    }

    async fn create(&mut self, args: CreateArgs) -> Result<()> {
        // As in Docker, the parent is an option; --parent is another way to write it.
        let parent = args.parent.map(|parent| format!("parent={parent}"));
        let request = v1::CreateNetworkRequest {
            name: args.name,
            driver: args.driver,
            vni: args.vni.map(|vni| vni.get()),
            subnets: args.subnet,
            gateways: args.gateway,
            ip_ranges: args.ip_range,
            mtu: args.mtu,
            plain: args.plain,
            internal: args.internal,
            remotes: args.remote,
            options: options(args.option.into_iter().chain(parent).collect())?,
        };
        let network = view::Network::from(answer(self.client.create_network(request).await)?);
        self.show(&network, |n| format!("{}\n", n.id))
    }

    async fn attach(&mut self, args: AttachArgs) -> Result<()> {
        let request = v1::AttachRequest {
            network: args.network,
            netns: netns(&args.netns)?,
            ifname: args.ifname,
            ips: args.ip,
            mac: args.mac.map(|mac| mac.octets().to_vec()).unwrap_or_default(),
        };
        let endpoint = view::Attached::from(answer(self.client.attach(request).await)?);
        self.show(&endpoint, print::attached)
    }
}

/// `K=V`, or `K` alone as in Docker's `-o encrypted`.
fn options(given: Vec<String>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for option in given {
        let (name, value) = option.split_once('=').unwrap_or((&option, ""));
        if options.insert(name.to_owned(), value.to_owned()).is_some() {
            bail!("the option {name} is given twice: give it once");
        }
    }
    Ok(options)
}

/// A path means what it means here, not what it would mean to the daemon.
fn netns(name_or_path: &str) -> Result<String> {
    if !name_or_path.contains('/') {
        return Ok(name_or_path.to_owned());
    }
    let path = std::path::absolute(name_or_path).with_context(|| format!("cannot use the path {name_or_path}"))?;
    let path = match path.strip_prefix("/proc/self") {
        Ok(rest) => Path::new("/proc").join(std::process::id().to_string()).join(rest),
        Err(_) => path,
    };
    path.into_os_string().into_string().ok().with_context(|| format!("the path {name_or_path} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_may_stand_alone_but_not_twice() {
        let given = |texts: &[&str]| options(texts.iter().map(|t| (*t).to_owned()).collect());
        let map = given(&["encrypted", "vlan=keep", "a=b=c"]).unwrap();
        assert_eq!((map["encrypted"].as_str(), map["vlan"].as_str(), map["a"].as_str()), ("", "keep", "b=c"));
        assert!(given(&["vlan=keep", "vlan=strip"]).is_err());
    }

    #[test]
    fn a_namespace_path_is_made_absolute_and_self_is_the_caller() {
        assert_eq!(netns("blue").unwrap(), "blue");
        let here = std::env::current_dir().unwrap();
        assert_eq!(netns("./ns").unwrap(), here.join("ns").to_str().unwrap());
        assert_eq!(netns("/proc/self/ns/net").unwrap(), format!("/proc/{}/ns/net", std::process::id()));
    }
}
