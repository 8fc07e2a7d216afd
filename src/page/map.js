// The map: this node in the middle, all others around it, and a line to each that it has keys with. Endpoints are spots
// around their nodes, in the colours of their networks.
//
// Where a node stands follows from the order of names alone, so that nothing jumps about as values change.

const SVG = "http://www.w3.org/2000/svg";
// As many nodes have their names beside them; with more there are dots, whose names a pointer shows.
const NAMED = 30;
// As many endpoints of a node are spots; how many there are is said where a pointer rests on the node.
const SPOTS = 16;
// As many colours are told apart, and as many networks have a name below the map.
const COLOURS = 8;
const LISTED = 24;

/**
 * Draws `nodes` ({name, state, own, peer: {rate, silent, drops, rtt}, endpoints: [{network, ips, mac}]}) into `svg`,
 * changing what is there. `networks` are names; what is not on the `chosen` one, if there is one, steps back.
 */
export function draw(svg, nodes, networks, chosen) {
  const colours = new Map(networks.map((name, index) => [name, `net${index % COLOURS}`]));
  const off = (node) => (chosen !== null && !node.endpoints.some((endpoint) => endpoint.network === chosen) ? " off" : "");
  const own = nodes.find((node) => node.own);
  const others = nodes.filter((node) => !node.own);
  const places = rings(others.length);
  const named = others.length <= NAMED;
  const radius = Math.max(7, Math.min(34, 300 / Math.sqrt(others.length + 1)));
  const marks = new Marks(svg);
  others.forEach((node, index) => {
    if (!node.peer) return;
    const [x, y] = places[index];
    const bad = node.peer.silent || node.peer.drops > 0;
    // Among many, those that say something.
    if (!named && !bad && node.peer.rate === 0) return;
    const width = 2 + Math.min(14, 3 * Math.log10(1 + node.peer.rate));
    marks.put("line", { x1: 0, y1: 0, x2: x, y2: y, "stroke-width": width.toFixed(1), class: (bad ? "bad" : "") + off(node) });
  });
  others.forEach((node, index) => {
    const [x, y] = places[index];
    circle(marks, node, x, y, radius, off(node));
    if (!named) return;
    spots(marks, node, x, y, radius, colours, chosen);
    marks.put("text", { x, y: y + radius + 40, class: off(node) }, node.name);
    if (node.peer?.rtt != null) marks.put("text", { x: x * 0.52, y: y * 0.52 - 8, class: "rate" }, node.peer.rtt);
  });
  if (own) {
    const r = Math.max(radius, 20);
    circle(marks, own, 0, 0, r, off(own));
    if (named) {
      spots(marks, own, 0, 0, r, colours, chosen);
      marks.put("text", { x: 0, y: r + 42, class: off(own) }, own.name);
    }
  }
  marks.end();
}

function circle(marks, node, x, y, r, off) {
  const mark = marks.put("circle", { cx: x, cy: y, r, class: node.state + (node.own ? " own" : "") + off });
  const count = node.endpoints.length;
  entitle(mark, `${node.name}: ${node.state}, ${count} endpoint${count === 1 ? "" : "s"}`);
}

/** The endpoints of a node, around it from the top on. */
function spots(marks, node, x, y, r, colours, chosen) {
  const shown = node.endpoints.filter((endpoint) => chosen === null || endpoint.network === chosen).slice(0, SPOTS);
  shown.forEach((endpoint, index) => {
    const angle = (2 * Math.PI * index) / SPOTS - Math.PI / 2;
    const [cx, cy] = [x + (r + 12) * Math.cos(angle), y + (r + 12) * Math.sin(angle)].map((at) => at.toFixed(1));
    const mark = marks.put("circle", { cx, cy, r: 7, class: `spot ${colours.get(endpoint.network) ?? ""}` });
    entitle(mark, `${endpoint.ips || endpoint.mac} on ${endpoint.network}`);
  });
}

function entitle(mark, text) {
  if (!mark.firstChild) mark.append(document.createElementNS(SVG, "title"));
  set(mark.firstChild, text);
}

/** The networks by name below the map, each a button: pressed, the map shows it alone. */
export function legend(list, networks, chosen, choose) {
  while (list.children.length > Math.min(networks.length, LISTED)) list.lastChild.remove();
  networks.slice(0, LISTED).forEach((name, index) => {
    let button = list.children[index]?.firstChild;
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.append(document.createElement("i"), document.createElement("span"));
      button.firstChild.className = `net${index % COLOURS}`;
      button.addEventListener("click", () => choose(button.textContent));
      list.appendChild(document.createElement("li")).append(button);
    }
    set(button.lastChild, name);
    button.setAttribute("aria-pressed", name === chosen);
  });
}

/** Places for so many nodes on rings around the middle, each ring with as many as its length holds. */
function rings(count) {
  const places = [];
  let ring = 1;
  const step = count <= 16 ? 360 : 0;
  // As many rings as are needed when the n-th holds n times what the first one does.
  const first = 12;
  let needed = 1;
  while ((first * needed * (needed + 1)) / 2 < count) needed += 1;
  while (places.length < count) {
    const left = count - places.length;
    const on = step ? left : Math.min(left, first * ring);
    const distance = step || 60 + (400 * ring) / needed;
    for (let n = 0; n < on; n += 1) {
      const angle = (2 * Math.PI * n) / on + Math.PI + (ring % 2 ? 0 : Math.PI / on);
      places.push([Math.round(distance * Math.cos(angle)), Math.round(distance * Math.sin(angle))]);
    }
    ring += 1;
  }
  return places;
}

/** The elements of the picture, used again from one drawing to the next: only what differs is touched. */
class Marks {
  constructor(svg) {
    this.svg = svg;
    this.next = svg.firstElementChild;
  }

  put(name, attributes, text) {
    let mark = this.next;
    if (mark?.tagName !== name) {
      mark = document.createElementNS(SVG, name);
      this.svg.insertBefore(mark, this.next);
    } else {
      this.next = mark.nextElementSibling;
    }
    for (const [key, value] of Object.entries(attributes)) {
      if (mark.getAttribute(key) !== String(value)) mark.setAttribute(key, value);
    }
    if (text !== undefined) set(mark, text);
    return mark;
  }

  end() {
    while (this.next) {
      const rest = this.next;
      this.next = rest.nextElementSibling;
      rest.remove();
    }
  }
}

/** Gives an element its text, if it has another. */
export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
