//! A reader of Prometheus' text format that takes nothing but what the format and its conventions allow.

use std::collections::{BTreeMap, BTreeSet};

/// A page that was read: the value of each series, by its name with its labels as they stand there.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) series: BTreeMap<String, f64>,
    /// The kind of each family.
    pub(crate) families: BTreeMap<String, String>,
}

impl Page {
    /// Reads a page; panics where it is none.
    pub(crate) fn read(text: &str) -> Page {
        assert!(text.ends_with('\n'), "the last line has no end");
        let (mut page, mut helped, mut family) = (Page::default(), BTreeSet::new(), String::new());
        for line in text.lines() {
            let words: Vec<_> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => {
                    assert!(!help.is_empty() && helped.insert(name.to_owned()), "a second help: {line}");
                }
                ["#", "TYPE", name, kind] => {
                    assert!(helped.contains(name), "a type before its help: {line}");
                    assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                    assert_eq!(kind == "counter", name.ends_with("_total"), "counters alone end in _total: {line}");
                    let known = page.families.insert(name.to_owned(), kind.to_owned());
                    assert!(known.is_none(), "a family in two parts: {line}");
                    family = name.to_owned();
                }
                _ => {
                    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
                    assert_eq!(page.family_of(series), family, "a series outside of its family: {line}");
                    check_labels(series);
                    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                    assert!(page.series.insert(series.to_owned(), value).is_none(), "a series twice: {line}");
                }
            }
        }
        page
    }

    /// The family that a series is of: a histogram's has other names.
    fn family_of<'a>(&self, series: &'a str) -> &'a str {
        let name = name_of(series);
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            (self.families.get(family).map(String::as_str) == Some("histogram")).then_some(family)
        });
        of_histogram.unwrap_or(name)
    }

    /// True if there are series of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.families.contains_key(self.family_of(name))
    }

    /// The value of a series.
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("there is no {series} among {:#?}", self.series))
    }

    /// The series of a family.
    pub(crate) fn of(&self, family: &str) -> Vec<&str> {
        self.series.keys().map(String::as_str).filter(|series| name_of(series) == family).collect()
    }
}

/// A series' name without its labels.
pub(crate) fn name_of(series: &str) -> &str {
    series.split_once('{').map_or(series, |(name, _)| name)
}

fn check_labels(series: &str) {
    let name = name_of(series);
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    assert!(plain(name) && (name.starts_with("weft_") || name.starts_with("process_")), "{series}");
    let Some(labels) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) else { return };
    let mut rest = labels.strip_suffix('}').unwrap_or_else(|| panic!("an open brace: {series}"));
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no value: {series}"));
        assert!(plain(label), "{series}");
        let end = end_of_value(quoted).unwrap_or_else(|| panic!("an open quote: {series}"));
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// Where the quote is that ends a label's value.
fn end_of_value(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    quoted.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}
