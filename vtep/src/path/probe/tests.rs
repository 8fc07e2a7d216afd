//! The prober in virtual time, one tick a second, over paths that a test makes up.

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// A prober and the path to its one peer.
struct World {
    prober: Prober,
    now: u64,
    session: u32,
    needed: u16,
    /// The largest packet that comes through; 0 for a cut path.
    path: u16,
    news: Vec<PathNews>,
    asked: Vec<Ask>,
}

impl World {
    fn new(path: u16) -> World {
        let (prober, news, asked) = (Prober::default(), Vec::new(), Vec::new());
        World { prober, now: 100, session: 7, needed: 1500, path, news, asked }
    }

    fn run(&mut self, seconds: u64) -> &mut World {
        for _ in 0..seconds {
            let (mut asks, mut news) = (Vec::new(), Vec::new());
            let now = Duration::from_secs(self.now);
            self.prober.tick(now, [(PEER, self.session)], self.needed, &mut asks, &mut news);
            for Ask { vtep, id, .. } in asks.iter().filter(|ask| ask.size <= self.path) {
                let rtt = Duration::from_micros(250);
                self.prober.answered(Answer { vtep: *vtep, id: *id, rtt }, &mut news);
            }
            self.news.extend(news.into_iter().map(|(_, news)| news));
            self.asked.extend(asks);
            self.now += 1;
        }
        self
    }

    fn row(&self) -> PathRow {
        self.prober.rows()[0]
    }
}

#[test]
fn a_good_path_is_known_after_two_ticks_and_is_no_news() {
    let mut world = World::new(1500);
    world.run(2);
    let PathRow { latency, mtu, needed, .. } = world.row();
    let micros = Duration::from_micros(250);
    assert_eq!(latency, Some(Latency { rtt: micros, min: micros, p99: micros }));
    assert_eq!((mtu, needed), (Some(1500), 1500));
    world.run(3600);
    assert_eq!((world.row().echoes.1, world.row().silent, &world.news[..]), (0, false, &[][..]));
    let per_hour = world.asked.len();
    assert!((1200..1300).contains(&per_hour), "{per_hour} datagrams an hour");
}

#[test]
fn a_black_hole_is_named_once_and_so_is_its_end() {
    let mut world = World::new(1400);
    world.run(20);
    assert_eq!(world.news, [PathNews::Narrow { mtu: 1400, needed: 1500 }]);
    assert_eq!((world.row().mtu, world.row().needed, world.row().silent), (Some(1400), 1500, false));
    world.run(600);
    assert_eq!(world.news.len(), 1);
    world.path = 1500;
    world.run(70);
    assert_eq!(world.news[1..], [PathNews::Wide { mtu: 1500 }]);
    world.path = 1300;
    world.run(320);
    assert_eq!(world.news[2..], [PathNews::Narrow { mtu: 1300, needed: 1500 }]);
}

#[test]
fn a_cut_path_is_silent_and_not_narrow() {
    let mut world = World::new(1500);
    world.run(10).path = 0;
    world.run(320);
    assert_eq!(world.news, [PathNews::Silent]);
    assert_eq!((world.row().silent, world.row().mtu), (true, Some(1500)));
    world.path = 1500;
    world.run(4);
    assert_eq!(world.news[1..], [PathNews::Answers]);
    assert!(!world.row().silent);
}

#[test]
fn a_new_session_and_a_new_need_are_probed_at_once() {
    let mut world = World::new(1500);
    world.run(10).path = 1400;
    world.session += 1;
    world.run(20);
    assert_eq!(world.news, [PathNews::Narrow { mtu: 1400, needed: 1500 }]);
    world.needed = 1350;
    world.run(2);
    assert_eq!(world.news[1..], [PathNews::Wide { mtu: 1350 }]);
}

#[test]
fn nothing_is_probed_that_nobody_needs() {
    let mut world = World::new(1500);
    world.needed = 0;
    world.run(100);
    let small = small(PEER);
    assert!(world.asked.iter().all(|ask| ask.size == small));
    assert_eq!(world.row().mtu, None);
}

#[test]
fn a_path_whose_session_ends_is_forgotten() {
    let mut world = World::new(1500);
    world.run(10);
    world.prober.tick(Duration::from_secs(world.now), [], 1500, &mut Vec::new(), &mut Vec::new());
    assert_eq!(world.prober.rows(), []);
}

/// Answers of others, of another question or twice count for nothing.
#[test]
fn only_what_was_asked_is_answered() {
    let mut world = World::new(0);
    world.run(1);
    let (id, mut news) = (world.asked[0].id, Vec::new());
    let rtt = Duration::from_secs(1);
    for answer in [Answer { vtep: [9; 4].into(), id, rtt }, Answer { vtep: PEER, id: id + 1000, rtt }] {
        world.prober.answered(answer, &mut news);
    }
    assert_eq!(world.row().latency, None);
    for _ in 0..2 {
        world.prober.answered(Answer { vtep: PEER, id, rtt: Duration::from_micros(5) }, &mut news);
    }
    assert_eq!(world.row().latency.unwrap().p99, Duration::from_micros(5));
}
