//! The CA is replaced while the cluster lives: at no moment does a node or a token have to wait for another node.

use std::time::SystemTime;

use weft_control::id::NodeId;
use weft_control::security::ca::{Authority, Permit, Succession};
use weft_control::security::credentials::Credentials;
use weft_control::security::key::NodeKey;
use weft_control::security::roots::merge;
use weft_control::security::token::Token;
use weft_control::security::trust::Trust;
use weft_control::transport::connect::connect;
use weft_control::transport::join::{Joiner, join};

use crate::fixture::{HOUR, Node, SERVER, credentials, identity, who};

const MEMBER: NodeId = NodeId(0xa1);

fn certified(authority: &Authority, node: NodeId, roots: &[impl AsRef<[u8]>]) -> Credentials {
    let key = NodeKey::generate();
    let request = key.request(&identity(node));
    let certificate = authority.sign(&request, &Permit::Renewal(node), SystemTime::now()).unwrap();
    Credentials::new(&key, &certificate, roots).unwrap()
}

async fn meet(trust: &Trust, node: &Node) {
    let channel = connect(trust, SERVER, node.address).await.unwrap();
    assert_eq!(who(channel).await.unwrap(), MEMBER);
}

#[tokio::test]
async fn old_and_new_nodes_and_tokens_get_on_during_a_rotation() {
    let node = Node::start().await;
    let old = node.office.authority.clone();
    let Succession { authority: new, vouchers } = old.succeed(SystemTime::now());
    let offered: Vec<_> = std::iter::once(new.certificate().to_vec()).chain(vouchers).collect();
    let both = merge(&[old.certificate()], &offered, SystemTime::now());
    assert_eq!(&both[0], new.certificate());

    let not_yet_heard = Trust::new(credentials(&old, MEMBER));
    let heard = Trust::new(certified(&old, MEMBER, &both));
    let renewed = Trust::new(certified(&new, MEMBER, &both));
    let now = SystemTime::now();
    assert!(not_yet_heard.credentials().renew_in(now) > 24 * HOUR);
    assert!(heard.credentials().renew_in(now).is_zero(), "one that has heard renews at once");
    assert!(renewed.credentials().renew_in(now) > 24 * HOUR);

    // A living connection goes on through every step of its peer.
    let living = connect(&not_yet_heard, SERVER, node.address).await.unwrap();
    for server in [credentials(&old, SERVER), certified(&old, SERVER, &both), certified(&new, SERVER, &both)] {
        node.trust.swap(server);
        for member in [&not_yet_heard, &heard, &renewed] {
            meet(member, &node).await;
        }
        assert_eq!(who(living.clone()).await.unwrap(), MEMBER);
    }

    // A token of the old CA opens a node that is through with it, and one of the new CA a node that is not.
    let signed_by_new = certified(&new, SERVER, &both);
    let signed_by_old = certified(&old, SERVER, &both);
    for (authority, server) in [(&*old, signed_by_new), (&new, signed_by_old)] {
        node.trust.swap(server);
        *node.office.roots.lock().unwrap() = both.iter().map(|root| root.to_vec()).collect();
        let (token, record) = Token::create(authority.hash(), HOUR, None, now);
        node.office.tokens.lock().unwrap().insert(record.id, record);
        let (key, identity) = (NodeKey::generate(), identity(NodeId(0x10)));
        let joiner = Joiner { token: &token, identity: &identity, key: &key, protocol: (1, 1) };
        let joined = join(node.address, joiner).await.unwrap();
        assert_eq!(joined.credentials.roots(), both);
    }

    // The old one is dropped: what it signed ends. (A voucher would help its holder until the overlap is over.)
    node.trust.swap(certified(&new, SERVER, &[new.certificate()]));
    assert!(connect(&not_yet_heard, SERVER, node.address).await.is_err());
    meet(&renewed, &node).await;
    assert!(who(living).await.is_err());
}
