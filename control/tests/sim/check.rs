//! What must hold when the network is quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_control::cluster::Cluster;
use weft_control::id::NodeId;
use weft_control::membership::State;
use weft_control::table::{Key, Value};

use crate::world::World;

/// A time that this many of a hundred values do not exceed.
pub(crate) fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() * percent).div_ceil(100).max(1) - 1]
}

/// How one node sees another.
pub(crate) fn state(cluster: &Cluster, node: NodeId) -> Option<State> {
    cluster.members().find(|member| member.node == node).map(|member| member.state)
}

/// Every node that is up sees all others that are up alive, and nobody else; or it is said who sees what.
pub(crate) fn members(world: &World) -> Result<(), String> {
    let up: Vec<NodeId> = world.up().map(|(node, _)| world.nodes[node].id).collect();
    for (node, cluster) in world.up() {
        let alive: BTreeMap<_, _> = cluster.members().map(|m| (m.node, (m.state, m.incarnation))).collect();
        for other in &world.nodes {
            let (seen, should) = (alive.get(&other.id), up.contains(&other.id));
            let right = match seen {
                Some((State::Alive, incarnation)) => should && *incarnation == other.incarnation,
                Some((State::Suspect, _)) => false,
                Some((State::Dead | State::Left, _)) | None => !should,
            };
            if !right {
                return Err(format!("node {node} sees {:016x} as {seen:?}, which is up: {should}", other.id.0));
            }
        }
    }
    Ok(())
}

/// Every node that is up has exactly what each node that is up put, entry by entry.
pub(crate) fn tables(world: &World) -> Result<(), String> {
    // Most often something is still on its way, which one number shows.
    let digests: BTreeMap<u64, usize> = world.up().map(|(node, cluster)| (cluster.table().digest(), node)).collect();
    if digests.len() > 1 {
        return Err(format!("{} different digests", digests.len()));
    }
    for (node, cluster) in world.up() {
        for (origin, _) in world.up() {
            let truth = &world.nodes[origin];
            let mut missing: BTreeMap<&Key, &Value> = truth.records.iter().collect();
            for (_, key, value) in cluster.table().records(truth.id) {
                let wanted = missing.remove(key);
                // The table itself chooses a station's mobility.
                let same = matches!((wanted, value), (Some(Value::Mac(_)), Value::Mac(_))) || wanted == Some(value);
                if !same && *key != Key::Node {
                    return Err(format!("node {node} has {key:?} = {value:?} of node {origin}, not {wanted:?}"));
                }
            }
            if let Some(key) = missing.keys().next() {
                return Err(format!("node {node} lacks {key:?} of node {origin}, and {} more", missing.len() - 1));
            }
            if cluster.table().node(truth.id).is_none() {
                return Err(format!("node {node} lacks the node record of node {origin}"));
            }
        }
    }
    Ok(())
}

/// Every node that is up has the same objects.
pub(crate) fn objects(world: &World) -> Result<(), String> {
    let mut first = None;
    for (node, cluster) in world.up() {
        let objects: Vec<_> = cluster.objects().all().collect();
        let first = first.get_or_insert_with(|| objects.clone());
        if *first != objects {
            return Err(format!("node {node} has the objects {objects:?}, the first {first:?}"));
        }
    }
    Ok(())
}

/// Waits until `what` holds; not longer than `limit`. Says how long it took.
pub(crate) fn within(world: &mut World, limit: Duration, what: impl Fn(&World) -> Result<(), String>) -> Duration {
    let begin = world.now;
    loop {
        match what(world) {
            Ok(()) => return world.now - begin,
            Err(why) if world.now >= begin + limit => panic!("after {limit:?}: {why}"),
            Err(_) => world.run(Duration::from_millis(100)),
        }
    }
}

/// When each node that is up declared `node` dead, since `since`.
pub(crate) fn deaths(world: &World, node: usize, since: Duration) -> Vec<Duration> {
    let id = world.nodes[node].id;
    let died = |(at, who): &(Duration, NodeId)| (*who == id && *at >= since).then(|| *at - since);
    world.up().filter_map(|(node, _)| world.nodes[node].deaths.iter().find_map(died)).collect()
}

/// Who declared a node dead, among those of `healthy`, and whom.
pub(crate) fn false_deaths(world: &World, healthy: impl Fn(usize) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (node, it) in world.nodes.iter().enumerate() {
        for (at, who) in &it.deaths {
            if let Some(dead) = world.nodes.iter().position(|n| n.id == *who).filter(|n| healthy(*n)) {
                found.push(format!("at {at:?} node {node} declared node {dead} dead"));
            }
        }
    }
    found
}
