// The map: this node in the middle, all others around it, and a line to each that it has keys with.
//
// Where a node stands follows from the order of names alone, so that nothing jumps about as values change.

const SVG = "http://www.w3.org/2000/svg";
// As many nodes have their names beside them; with more there are dots, whose names a pointer shows.
const NAMED = 30;

/** Draws `nodes` ({name, state, own, peer: {rate, silent, drops, rtt}}) into `svg`, changing what is there. */
export function draw(svg, nodes) {
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
    marks.put("line", { x1: 0, y1: 0, x2: x, y2: y, "stroke-width": width.toFixed(1), class: bad ? "bad" : "" });
  });
  others.forEach((node, index) => {
    const [x, y] = places[index];
    circle(marks, node, x, y, radius);
    if (!named) return;
    marks.put("text", { x, y: y + radius + 28, class: "" }, node.name);
    if (node.peer?.rtt != null) marks.put("text", { x: x * 0.52, y: y * 0.52 - 8, class: "rate" }, node.peer.rtt);
  });
  if (own) {
    circle(marks, own, 0, 0, Math.max(radius, 20));
    if (named) marks.put("text", { x: 0, y: Math.max(radius, 20) + 30, class: "" }, own.name);
  }
  marks.end();
}

function circle(marks, node, x, y, r) {
  const mark = marks.put("circle", { cx: x, cy: y, r, class: node.state + (node.own ? " own" : "") });
  if (!mark.firstChild) mark.append(document.createElementNS(SVG, "title"));
  set(mark.firstChild, `${node.name}: ${node.state}`);
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
