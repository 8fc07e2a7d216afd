//! By which names an engine knows the driver: that of the plugin socket, and those of managed plugins.
//!
//! A managed plugin is called as whoever made it has called it; that it is weft is seen from what it runs. Where there is
//! one, it may be all that the engine has of weft.

use serde::Deserialize;

use super::super::DRIVER;
use super::super::wire::nullable;

/// What the program of a managed plugin is called with, as `docker/plugin/config.json` has it.
const SHIM: &str = "plugin-shim";

/// The setting of one whose networks a Swarm makes.
const GLOBAL: &str = "WEFT_SCOPE=global";

/// A managed plugin as the engine lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Plugin {
    name: String,
    enabled: bool,
    config: PluginConfig,
    settings: Settings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PluginConfig {
    #[serde(deserialize_with = "nullable")]
    entrypoint: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
}

/// The names of the driver in an engine.
#[derive(Debug)]
pub(super) struct Drivers {
    all: Vec<String>,
    /// The one that an engine makes networks with.
    pub(super) best: String,
}

impl Drivers {
    /// Reads the engine's list of managed plugins.
    pub(super) fn of(plugins: Vec<Plugin>) -> Drivers {
        let shim = |plugin: &Plugin| plugin.config.entrypoint.iter().any(|word| word == SHIM);
        let mut ours: Vec<_> = plugins.into_iter().filter(shim).collect();
        ours.sort_by(|a, b| a.name.cmp(&b.name));
        let fit = |plugin: &&Plugin| plugin.enabled && !plugin.settings.env.iter().any(|setting| setting == GLOBAL);
        let best = ours.iter().find(fit).map_or(DRIVER, |plugin| &plugin.name).to_owned();
        let all = ours.into_iter().map(|plugin| plugin.name).chain([DRIVER.to_owned()]).collect();
        Drivers { all, best }
    }

    /// Whether a network of this driver is one of weft's.
    pub(super) fn have(&self, name: &str) -> bool {
        self.all.iter().any(|driver| driver == name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_managed_plugin_that_is_weft_goes_before_the_socket() {
        let plugin = |name: &str, enabled: bool, entrypoint: &[&str], scope: &str| {
            let settings = json!({ "Env": [format!("WEFT_SCOPE={scope}")] });
            json!({ "Name": name, "Enabled": enabled, "Config": { "Entrypoint": entrypoint }, "Settings": settings })
        };
        let shim = ["/weft", "plugin-shim", "--daemon", "/run/weft-host/weft.sock"];
        let read = |plugins: &[serde_json::Value]| Drivers::of(serde_json::from_value(json!(plugins)).unwrap());
        assert_eq!(read(&[]).best, "weft");
        let other = plugin("weft-like:latest", true, &["/other"], "local");
        let nothing =
            json!({ "Name": "x", "Enabled": true, "Config": { "Entrypoint": null }, "Settings": { "Env": null } });
        let drivers = read(&[other, nothing, plugin("acme/net:1", true, &shim, "local")]);
        assert_eq!(drivers.best, "acme/net:1");
        assert!(drivers.have("acme/net:1") && drivers.have("weft") && !drivers.have("weft-like:latest"));
        // One that is switched off, or a Swarm's, makes no networks, but may have some.
        let drivers = read(&[plugin("weft:latest", false, &shim, "local"), plugin("a:1", true, &shim, "global")]);
        assert_eq!((drivers.best.as_str(), drivers.have("weft:latest"), drivers.have("a:1")), ("weft", true, true));
    }
}
