// The page: asks the daemon each second what there is, and shows it. Everything that it shows is text, never markup:
// names come from people and peers.

import { draw, legend, set } from "./map.js";
import { bits, micros, scaled, whole } from "./values.js";

const PERIOD = 1000;
const DOCTOR_PERIOD = 30_000;
// More rows than this are shown when they are asked for.
const ROWS = 200;

const at = (id) => document.getElementById(id);
const make = (name, text) => Object.assign(document.createElement(name), { textContent: text ?? "" });

let now = null;
let tables = { networks: [], fdb: [], neighbors: [] };
let findings = null;
// What changes in a second, from the last two answers.
let rates = { tx: 0, rx: 0, drops: {}, peers: new Map() };

// ---- What the tables show ----

const TONES = { alive: "good", up: "good", ok: "good", suspect: "doubt", warn: "doubt", dead: "bad", lost: "bad", fail: "bad" };

const text = (name, value, more) => ({ name, value, ...more });
const number = (name, value, show) => ({ name, value, show: show ?? whole.format, number: true });
const tone = (row, value) => TONES[value] ?? "";

const TABLES = {
  Nodes: {
    rows: () => nodes(),
    columns: [
      text("Name", (n) => n.name),
      text("State", (n) => n.state, { tone }),
      text("Address", (n) => n.address),
      number("Stations", (n) => n.stations),
      number("Latency", (n) => n.peer?.latency, micros),
      number("Sealed/s", (n) => n.peer?.sealed, (v) => scaled(v, "")),
      number("Opened/s", (n) => n.peer?.opened, (v) => scaled(v, "")),
      number("Refused", (n) => n.peer?.rejected),
      text("Suite", (n) => n.peer?.suite),
      number("Path MTU", (n) => n.peer?.mtu, String),
      text("Version", (n) => n.version),
    ],
    empty: "This node stands alone: it has no members.",
  },
  Endpoints: {
    rows: () => stations(),
    columns: [
      text("Network", (s) => s.network),
      text("Addresses", (s) => s.ips),
      text("MAC", (s) => s.mac),
      text("Node", (s) => s.node),
      text("Kind", (s) => s.kind),
      text("Endpoint", (s) => s.endpoint),
      text("State", (s) => s.state, { tone }),
    ],
    empty: "No endpoint is attached, and none is known elsewhere.",
  },
  Networks: {
    rows: () => networks(),
    columns: [
      text("Name", (n) => n.name),
      text("Driver", (n) => n.driver),
      text("Mode", (n) => n.mode),
      number("VNI", (n) => n.vni || null, String),
      number("MTU", (n) => n.mtu, String),
      text("Subnets", (n) => n.subnets.map((s) => s.subnet).join(" ")),
      number("Stations", (n) => n.stations),
      text("Remotes", (n) => n.remotes.join(" ")),
    ],
    empty: "There is no network yet: weft network create NAME --subnet CIDR makes one.",
  },
  Drops: {
    rows: () => Object.entries(now?.stats.drops ?? {}).map(([reason, count]) => ({ reason, count })),
    columns: [
      text("Reason", (d) => d.reason),
      number("Frames", (d) => d.count),
      number("A second", (d) => rates.drops[d.reason] ?? 0, (v) => scaled(v, "")),
    ],
    sort: [1, -1],
  },
  Events: {
    rows: () => now?.events ?? [],
    columns: [
      text("Time", (e) => e.time.replace("T", " ").replace(/\.\d+/, "")),
      text("Kind", (e) => e.kind),
      text("What happened", (e) => e.text, { wide: true }),
      number("Number", (e) => e.number, String),
    ],
    sort: [3, -1],
    empty: "Nothing has happened yet.",
  },
  Findings: {
    rows: () => findings?.findings ?? [],
    columns: [
      text("State", (f) => f.state, { tone, order: (f) => ["ok", "unknown", "warn", "fail"].indexOf(f.state) }),
      text("Check", (f) => f.check),
      text("About", (f) => f.about),
      text("Seen", (f) => f.seen, { wide: true }),
      text("What to do", (f) => f.do, { wide: true }),
    ],
    sort: [0, -1],
    empty: "The doctor is looking.",
  },
};

// ---- Putting the documents together ----

function nodes() {
  if (!now) return [];
  const peers = new Map(now.status.sessions.map((session) => [session.address, session]));
  const homes = Map.groupBy(stations(), (station) => station.vtep);
  return now.members.map((member) => {
    const session = peers.get(member.address);
    const endpoints = homes.get(member.address) ?? [];
    const own = member.id === now.status.id;
    return { ...member, own, endpoints, stations: endpoints.length, peer: session && peer(session) };
  });
}

function networks() {
  const counts = new Map();
  for (const { network } of stations()) counts.set(network, (counts.get(network) ?? 0) + 1);
  return tables.networks.map((network) => ({ ...network, stations: counts.get(network.name) ?? 0 }));
}

function peer(session) {
  const { sealed, opened, drops } = rates.peers.get(session.address) ?? { sealed: 0, opened: 0, drops: 0 };
  const rejected = Object.values(session.rejected).reduce((a, b) => a + b, 0);
  return {
    sealed, opened, drops, rejected, rate: sealed + opened, silent: session.path_silent, latency: session.rtt_us,
    rtt: session.rtt_us == null ? null : micros(session.rtt_us), suite: session.suite, mtu: session.path_mtu,
  };
}

let stood = {};

/** Who is where; put together once for each answer. */
function stations() {
  if (stood.now !== now || stood.tables !== tables) stood = { now, tables, rows: together() };
  return stood.rows;
}

function together() {
  const here = now?.status.advertise;
  const names = new Map((now?.members ?? []).map((member) => [member.address, member.name]));
  const key = (row) => `${row.vni} ${row.mac}`;
  const ips = new Map();
  for (const neighbor of tables.neighbors) {
    const known = ips.get(key(neighbor));
    ips.set(key(neighbor), known ? `${known} ${neighbor.ip}` : neighbor.ip);
  }
  const own = new Map();
  const rows = [];
  for (const network of tables.networks) {
    for (const endpoint of network.endpoints) {
      own.set(endpoint.endpoint, endpoint);
      // What is lost, or of a network of this host, is in no forwarding table.
      if (endpoint.state !== "up" || network.driver !== "overlay") {
        rows.push({ ...endpoint, network: network.name, ips: plain(endpoint.ips), node: now?.status.node, vtep: here, kind: network.driver === "overlay" ? "local" : network.driver });
      }
    }
  }
  for (const station of tables.fdb) {
    const endpoint = own.get(station.port);
    rows.push({
      network: station.network, mac: station.mac, kind: station.kind, endpoint: station.port, state: endpoint?.state,
      ips: ips.get(key(station)) ?? (endpoint ? plain(endpoint.ips) : ""),
      node: station.vtep ? (names.get(station.vtep) ?? station.vtep) : now?.status.node, vtep: station.vtep ?? here,
    });
  }
  return rows;
}

const plain = (cidrs) => cidrs.map((cidr) => cidr.split("/")[0]).join(" ");

// ---- Asking ----

let last = null;

function learn(answer) {
  const time = performance.now();
  if (last) {
    const seconds = Math.max(0.001, (time - last.time) / 1000);
    // A counter that fell is a new one: of a new session, or of a daemon that was restarted.
    const grew = (next, before) => (before === undefined || next < before ? 0 : (next - before) / seconds);
    const [next, before] = [answer.stats, last.stats];
    const refused = (session) => Object.values(session.rejected).reduce((a, b) => a + b, 0);
    const sessions = new Map(last.sessions.map((session) => [session.address, session]));
    rates = {
      tx: grew(next.totals.tx_bytes, before.totals.tx_bytes),
      rx: grew(next.totals.rx_bytes, before.totals.rx_bytes),
      drops: Object.fromEntries(Object.entries(next.drops).map(([reason, n]) => [reason, grew(n, before.drops[reason])])),
      peers: new Map(answer.status.sessions.map((session) => {
        const then = sessions.get(session.address);
        const of = (field) => grew(session[field], then?.[field]);
        return [session.address, { sealed: of("sealed"), opened: of("opened"), drops: then ? grew(refused(session), refused(then)) : 0 }];
      })),
    };
  }
  last = { time, stats: answer.stats, sessions: answer.status.sessions };
  announce(answer);
  now = answer;
}

/** Says what happened since the last answer, for those who hear the page. */
function announce(answer) {
  const seen = now?.events.at(-1)?.number ?? answer.events.at(-1)?.number ?? 0;
  const fresh = answer.events.filter((event) => event.number > seen);
  if (fresh.length > 0) set(at("said"), fresh.map((event) => event.text).join(". "));
}

async function ask(path) {
  // The browser asks whether it has changed, and takes what it has if not.
  const answer = await fetch(path, { cache: "no-cache", signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
  return answer.json();
}

async function follow() {
  for (;;) {
    try {
      const [answer, told] = await Promise.all([ask("now.json"), ask("tables.json")]);
      tables = told;
      learn(answer);
      at("lost").hidden = true;
    } catch (error) {
      set(at("lost"), `The daemon does not answer (${error.message}). What is shown is of ${now ? "the last answer" : "nothing yet"}.`);
      at("lost").hidden = false;
      last = null;
    }
    show();
    await new Promise((resume) => setTimeout(resume, PERIOD));
  }
}

async function consult() {
  for (;;) {
    try {
      findings = await ask("doctor.json");
      show();
    } catch {
      // The other question already tells that there is no answer.
    }
    await new Promise((resume) => setTimeout(resume, DOCTOR_PERIOD));
  }
}

// ---- Showing ----

let open = Object.hasOwn(TABLES, decodeURIComponent(location.hash.slice(1))) ? decodeURIComponent(location.hash.slice(1)) : "Nodes";
let limit = ROWS;
// The network that the map shows alone.
let alone = null;
const orders = {};

function show() {
  if (now) {
    header();
    const all = nodes();
    const names = tables.networks.map((network) => network.name);
    if (!names.includes(alone)) alone = null;
    draw(at("map"), all, names, alone);
    legend(at("networks"), names, alone, (name) => {
      alone = alone === name ? null : name;
      show();
    });
    const alive = all.filter((node) => node.state === "alive").length;
    set(at("map-text"), all.length ? `${alive} of ${all.length} alive. Lines are to nodes with keys: thicker with more datagrams, broken and red where some are refused or no echo returns. Spots are endpoints, in the colours of their networks.` : "This node stands alone.");
  }
  tabs();
  rows();
}

function header() {
  const { status } = now;
  const dropped = Object.values(rates.drops).reduce((a, b) => a + b, 0);
  const facts = [
    ["", status.ready ? status.mode : "not ready", status.ready ? "" : "bad"],
    ["alive", `${status.members_alive} of ${now.members.filter((m) => m.state !== "left").length}`],
    ["tables equal", `${status.members_agreeing} of ${status.members_compared}`, status.members_agreeing < status.members_compared ? "doubt" : ""],
    ["out", bits(rates.tx)],
    ["in", bits(rates.rx)],
    ["dropped", scaled(dropped, "/s"), dropped > 0 ? "doubt" : ""],
    ["doctor", findings ? (findings.well ? "well" : "something failed") : "looking", findings && !findings.well ? "bad" : ""],
  ];
  document.title = `weft · ${status.node}`;
  set(at("node"), `${status.node} (${status.advertise})`);
  const list = at("facts");
  while (list.children.length < facts.length) {
    const pair = make("div");
    pair.append(make("dt"), make("dd"));
    list.append(pair);
  }
  facts.forEach(([name, value, tone], index) => {
    const [dt, dd] = list.children[index].children;
    set(dt, name);
    set(dd, value);
    dd.className = tone ?? "";
  });
}

function tabs() {
  const list = at("tabs");
  if (!list.firstChild) {
    for (const name of Object.keys(TABLES)) {
      const tab = make("button", name);
      Object.assign(tab, { type: "button", role: "tab", id: `tab-${name}` });
      tab.setAttribute("aria-controls", "panel");
      tab.addEventListener("click", () => choose(name));
      list.append(tab);
    }
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const names = Object.keys(TABLES);
      choose(names[(names.indexOf(open) + step + names.length) % names.length]);
      at(`tab-${open}`).focus();
      event.preventDefault();
    });
  }
  for (const tab of list.children) {
    const selected = tab.id === `tab-${open}`;
    tab.setAttribute("aria-selected", selected);
    tab.tabIndex = selected ? 0 : -1;
  }
  at("panel").setAttribute("aria-labelledby", `tab-${open}`);
}

function choose(name) {
  open = name;
  limit = ROWS;
  history.replaceState(null, "", `#${name}`);
  show();
}

function rows() {
  const table = TABLES[open];
  const [column, direction] = orders[open] ?? table.sort ?? [0, 1];
  heads(table, column, direction);
  const wanted = at("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const cells = (row) => table.columns.map((c) => {
    const value = c.value(row);
    return value == null ? "" : c.show ? c.show(value) : String(value);
  });
  let all = table.rows().map((row) => ({ row, cells: cells(row) }));
  const total = all.length;
  if (wanted.length > 0) {
    all = all.filter(({ cells }) => {
      const line = cells.join(" ").toLowerCase();
      return wanted.every((word) => line.includes(word));
    });
  }
  const { value, order } = table.columns[column];
  const key = order ?? value;
  all.sort((a, b) => direction * compare(key(a.row), key(b.row)));
  fill(table, all.slice(0, limit));
  set(at("count"), wanted.length > 0 ? `${whole.format(all.length)} of ${whole.format(total)}` : whole.format(total));
  at("empty").hidden = total > 0;
  set(at("empty"), table.empty ?? "");
  at("more").hidden = all.length <= limit;
  set(at("more"), `Show all ${whole.format(all.length)}`);
}

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  // What is not known comes last when it rises.
  if (a == null || b == null) return (a == null) - (b == null);
  return typeof a === "number" ? a - b : collator.compare(a, b);
}

function heads(table, column, direction) {
  const head = at("head");
  if (head.dataset.of !== open) {
    head.dataset.of = open;
    head.replaceChildren(...table.columns.map((c, index) => {
      const cell = make("th");
      cell.scope = "col";
      if (c.number) cell.className = "number";
      const button = make("button", c.name);
      button.type = "button";
      button.addEventListener("click", () => {
        const [now, way] = orders[open] ?? table.sort ?? [0, 1];
        orders[open] = [index, now === index ? -way : c.number ? -1 : 1];
        rows();
      });
      cell.append(button);
      return cell;
    }));
  }
  [...head.children].forEach((cell, index) => {
    if (index === column) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
}

/** Rows are used again: what has not changed is not touched, so that a selection stays. */
function fill(table, shown) {
  const body = at("rows");
  while (body.children.length > shown.length) body.lastChild.remove();
  shown.forEach(({ row, cells }, index) => {
    const line = body.children[index] ?? body.appendChild(make("tr"));
    while (line.children.length > cells.length) line.lastChild.remove();
    cells.forEach((text, n) => {
      const cell = line.children[n] ?? line.appendChild(make("td"));
      const column = table.columns[n];
      set(cell, text);
      const name = [column.number && "number", column.wide && "wide", column.tone?.(row, text)].filter(Boolean).join(" ");
      if (cell.className !== name) cell.className = name;
    });
  });
}

at("search").addEventListener("input", () => {
  limit = ROWS;
  rows();
});
at("more").addEventListener("click", () => {
  limit = Infinity;
  rows();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== at("search")) {
    at("search").focus();
    event.preventDefault();
  } else if (event.key === "Escape" && document.activeElement === at("search")) {
    at("search").value = "";
    limit = ROWS;
    rows();
  }
});

show();
follow();
consult();
