//! What no command, page or archive may show: a node's secrets, as they stand on its disk.

use std::fs;

use weft::lab::Host;

/// The secrets of a host's node: its keys and those of the CA, line by line, and the secret part of a join token.
pub(crate) fn of(host: &Host, token: &str) -> Vec<String> {
    let text = host.run(|| {
        let files = fs::read_dir("/run/weft/state/keys").unwrap().map(|entry| entry.unwrap().path());
        files.filter_map(|path| fs::read_to_string(path).ok()).collect::<String>()
    });
    let mut secrets: Vec<_> = text.unwrap().lines().filter(|line| line.len() > 40).map(str::to_owned).collect();
    assert!(secrets.len() > 2, "{} lines of keys", secrets.len());
    secrets.push(token.trim().rsplit(['.', ':', '-']).next().unwrap().to_owned());
    secrets.push("PRIVATE KEY".to_owned());
    secrets
}

/// Fails where one of them stands in the text.
#[track_caller]
pub(crate) fn none_in(what: &str, text: &str, secrets: &[String]) {
    assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())), "{what} holds a secret");
}
