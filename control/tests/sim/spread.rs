//! Who has what: how records reach all tables.

use std::time::Duration;

use weft_control::table::{Key, Mobility, Value};
use weft_vtep::addr::{Mac, Vni};

use crate::check::tables;
use crate::world::World;

fn station(number: u64) -> (Key, Value) {
    let [_, _, _, a, b, c, d, e] = number.to_be_bytes();
    let vni = Vni::new(4096).expect("a VNI");
    (Key::Mac(vni, Mac::new([2, a, b, c, d, e])), Value::Mac(Mobility::default()))
}

#[test]
fn a_node_alone_has_what_it_put() {
    let mut world = World::cluster(1, 1, Duration::from_secs(1));
    for number in 0..10 {
        let (key, value) = station(number);
        world.put(0, key, value);
    }
    world.remove(0, station(3).0);
    tables(&world).unwrap();
}
