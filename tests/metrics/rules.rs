//! What stands ready for those who run Prometheus and Grafana: it speaks of series that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use weft::metrics::page::page;
use weft::metrics::{Figures, NetworkFigures, PeerFigures};

use crate::grammar::Page;
use crate::promtool;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/observability").join(name)
}

/// The words of a text that could be names of series.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    let ours = |word: &&str| (word.starts_with("weft_") || word.starts_with("process_")) && !word.contains('-');
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_series_that_exist() {
    let figures = Figures {
        networks: vec![NetworkFigures::default()],
        peers: vec![PeerFigures { path: Some(crate::page::path()), ..PeerFigures::default() }],
        ..Figures::default()
    };
    let there = Page::read(&page(figures));
    for name in ["alerts.yml", "dashboard.json"] {
        let text = fs::read_to_string(file(name)).unwrap();
        let named = names(&text);
        assert!(named.len() > 5, "{name} names {named:?}");
        let unknown: Vec<_> = named.iter().filter(|series| !there.knows(series)).collect();
        assert!(unknown.is_empty(), "{name} names {unknown:?}, which the page does not have");
    }
}

#[test]
fn the_dashboard_is_json_and_each_panel_asks_something() {
    let text = fs::read_to_string(file("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && targets.iter().all(|target| target["expr"].is_string()), "{panel}");
    }
}

#[test]
fn promtool_takes_the_rules_and_the_configuration() {
    promtool(&["check", "rules", file("alerts.yml").to_str().unwrap()], "");
    promtool(&["check", "config", file("prometheus.yml").to_str().unwrap()], "");
    promtool(&["test", "rules", file("alerts_test.yml").to_str().unwrap()], "");
}
