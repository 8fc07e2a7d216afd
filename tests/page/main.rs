//! The page in a real browser: what it shows of a real cluster, how it follows, how it is used, and with a thousand nodes.
//!
//! WEFT_PICTURES names a directory for pictures of the page.

#[path = "../harness/mod.rs"]
mod harness;

mod browser;
mod crowd;
mod made_up;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use browser::Browser;
use harness::{eventually, needs, privileged, secrets, weft};
use weft::lab::{Daemon, Host, Lab, LabSpec, overlay};
use weft::traffic::udp::{self, FloodSpec};

const PORT: &str = "9470";
const URL: &str = "http://127.0.0.1:9470/";

/// The texts of a column of the table that is shown.
fn column(browser: &mut Browser, column: usize) -> Vec<String> {
    let cells = format!("[...document.querySelectorAll('#rows tr')].map((row) => row.children[{column}].textContent)");
    serde_json::from_value(browser.value(&cells)).unwrap()
}

/// A condition of a row in the table: that its cells hold these texts.
fn row(texts: &[&str]) -> String {
    let texts = serde_json::to_string(texts).unwrap();
    format!(
        "[...document.querySelectorAll('#rows tr')].some((row) => {texts}.every((text) => \
         [...row.children].some((cell) => cell.textContent === text)))"
    )
}

fn choose(browser: &mut Browser, tab: &str) {
    browser.value(&format!("document.getElementById('tab-{tab}').click()"));
}

fn picture(browser: &mut Browser, name: &str) {
    if let Some(directory) = std::env::var_os("WEFT_PICTURES") {
        browser.picture(&PathBuf::from(directory).join(name));
    }
}

#[test]
fn it_follows_a_cluster_without_being_loaded_again() {
    privileged!();
    needs!("chromium");
    let lab = Lab::build(LabSpec { containers: 2, ..LabSpec::new(3) }).unwrap();
    let mut daemons = overlay::cluster(&lab, weft(), &["--page", PORT]).unwrap();
    let host = &lab.hosts[0];
    daemons[0].json(host, &["network", "create", "blue", "--subnet", "10.77.0.0/16"]).unwrap();
    overlay::converge(&lab, &daemons).unwrap();
    let mut browser = Browser::open(host, URL);
    browser.wait(&row(&["node1", "alive", "192.0.2.1"]));
    browser.wait(&row(&["node3", "alive"]));
    browser.wait("document.querySelectorAll('#map circle.alive').length === 3");
    browser.value("window.loaded = 'once'");

    // An endpoint of another node, made by `weft attach` there.
    choose(&mut browser, "Endpoints");
    let container = &lab.hosts[1].containers[0];
    daemons[1].attach(&lab.hosts[1], "blue", container, &[container.v4.to_string()]).unwrap();
    let since = Instant::now();
    browser.wait(&row(&["blue", &container.ip().to_string(), "node2", "remote"]));
    eprintln!("a new endpoint of another node was shown after {:?}", since.elapsed());

    // A line for the keys with it, once there is an endpoint here, too.
    // The first address is kept for a router.
    let own = &host.containers[1];
    daemons[0].attach(host, "blue", own, &[own.v4.to_string()]).unwrap();
    browser.wait(&row(&["blue", &own.ip().to_string(), "node1", "local", "up"]));
    browser.wait("document.querySelectorAll('#map line').length >= 1");
    // Both endpoints are on the map, and the network shown alone has the third node step back.
    browser.wait("document.querySelectorAll('#map circle.spot.net0').length === 2");
    browser.value("document.querySelector('#networks button').click()");
    browser.wait("document.querySelectorAll('#map circle.alive.off').length === 1");
    assert_eq!(browser.value("document.querySelector('#networks button').ariaPressed"), "true");
    browser.value("document.querySelector('#networks button').click()");
    browser.wait("document.querySelectorAll('#map .off').length === 0");
    choose(&mut browser, "Nodes");
    browser.wait(&row(&["node2", "aes-256-gcm"]));
    picture(&mut browser, "page.png");
    browser.prefer("dark");
    picture(&mut browser, "page-dark.png");
    choose(&mut browser, "Findings");
    browser.wait(&row(&["tun", "ok"]));
    picture(&mut browser, "findings.png");

    // A death: seen by the page as soon as the daemon itself knows of it.
    choose(&mut browser, "Nodes");
    daemons.remove(2).crash().unwrap();
    let dead = |daemon: &Daemon| {
        let members = daemon.json(host, &["members"]).unwrap();
        members.as_array().unwrap().iter().any(|member| member["name"] == "node3" && member["state"] == "dead")
    };
    eventually("node3 is dead", || dead(&daemons[0]));
    let since = Instant::now();
    browser.wait(&row(&["node3", "dead"]));
    browser.wait("document.querySelectorAll('#map circle.dead').length === 1");
    eprintln!("a death that the daemon knew of was shown after {:?}", since.elapsed());
    assert_eq!(browser.value("window.loaded"), "once");

    // The daemon itself: that it is gone is said, and that it is back, too.
    daemons.remove(0).crash().unwrap();
    browser.wait("!document.getElementById('lost').hidden");
    let _again = Daemon::up(weft(), host, &[]).unwrap();
    browser.wait("document.getElementById('lost').hidden");
    browser.wait(&row(&["node1", "alive"]));
}

#[test]
fn a_thousand_nodes_are_shown_searched_and_sorted_by_keyboard() {
    privileged!();
    needs!("chromium");
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    let _served = made_up::serve(host, URL, 1000, 10);
    let mut browser = Browser::open(host, URL);
    browser.wait("document.querySelectorAll('#map circle').length === 1000");
    browser.wait("document.querySelectorAll('#rows tr').length === 200");
    assert_eq!(browser.value("document.getElementById('more').textContent"), "Show all 1,000");
    picture(&mut browser, "thousand.png");

    // `/` leads to the search, and Escape clears it.
    browser.press("/", "/");
    for letter in ["n", "o", "d", "e", "9", "9", "9"] {
        browser.press(letter, letter);
    }
    browser.wait("document.querySelectorAll('#rows tr').length === 1");
    assert_eq!(column(&mut browser, 0), ["node999"]);
    browser.press("Escape", "");
    browser.wait("document.querySelectorAll('#rows tr').length === 200");

    // Arrows lead from tab to tab.
    browser.value("document.getElementById('tab-Nodes').focus()");
    browser.press("ArrowRight", "");
    browser.wait("document.activeElement.id === 'tab-Endpoints'");
    browser.wait("document.getElementById('count').textContent === '10,000'");
    let milliseconds = "(async () => { const since = performance.now(); document.querySelector('#head button').click(); \
                        document.body.offsetHeight; return performance.now() - since; })()";
    eprintln!("10,000 endpoints were sorted and shown in {} ms", browser.value(milliseconds));
    assert_eq!(browser.value("document.querySelector('#head th').ariaSort"), "descending");

    // A network alone: the second has no endpoints anywhere.
    let pressed = "(() => { const since = performance.now(); document.querySelectorAll('#networks button')[1].click(); \
                   document.body.offsetHeight; return performance.now() - since; })()";
    eprintln!("a thousand nodes were drawn again in {} ms", browser.value(pressed));
    assert_eq!(browser.value("document.querySelectorAll('#map circle.off').length"), 1000);

    // A name is text, whatever it says.
    choose(&mut browser, "Networks");
    browser.wait(&row(&["<img src=x onerror=alert(1)>"]));
    assert_eq!(browser.value("document.querySelectorAll('#rows img').length"), 0);
}

/// The picture of the README, of six nodes that talk: `WEFT_PICTURES=src/page cargo test --test page -- --ignored`.
#[test]
#[ignore = "draws a picture and asserts nothing"]
fn a_picture_for_the_readme() {
    privileged!();
    needs!("chromium");
    let lab = Lab::build(LabSpec::new(6)).unwrap();
    let daemons = overlay::cluster(&lab, weft(), &["--page", PORT]).unwrap();
    overlay::share(&lab, &daemons, "blue", &[]).unwrap();
    let mut browser = Browser::open(&lab.hosts[0], URL);
    let containers: Vec<_> = lab.containers().collect();
    std::thread::scope(|scope| {
        for (n, to) in containers.iter().enumerate().skip(1) {
            let spec = FloodSpec {
                rate: Some(10 * 4u32.pow(n as u32)),
                duration: Duration::from_secs(8),
                sizes: &[1000],
                ..FloodSpec::default()
            };
            let from = &containers[0].netns;
            scope.spawn(move || udp::flood(from, &to.netns, to.ip(), &spec).unwrap());
        }
        std::thread::sleep(Duration::from_secs(6));
        picture(&mut browser, "screenshot.png");
    });
}

/// Asks on the host by the name `named`, and returns the answer.
fn get(host: &Host, named: &str, path: &str) -> std::io::Result<String> {
    host.run(|| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{PORT}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?
}

#[test]
fn it_is_for_this_host_alone_and_holds_no_secret() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let daemons = overlay::cluster(&lab, weft(), &["--page", PORT]).unwrap();
    let host = &lab.hosts[0];
    let secrets = secrets::of(host, &daemons[0].token(host).unwrap());
    let page = get(host, "127.0.0.1:9470", "/").unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("content-security-policy: default-src 'none'"), "{page}");
    for path in ["/now.json", "/tables.json", "/doctor.json"] {
        let answer = get(host, "localhost:9470", path).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        secrets::none_in(path, &answer, &secrets);
        // A name of somebody else's that leads here.
        let answer = get(host, "weft.example:9470", path).unwrap();
        assert!(answer.starts_with("HTTP/1.1 421") && !answer.contains("node1"), "{path}: {answer}");
    }
    let elsewhere = host.run(|| TcpStream::connect((host.address, 9470)).map(drop)).unwrap();
    assert!(elsewhere.is_err(), "it is served on {}, too", host.address);
}
