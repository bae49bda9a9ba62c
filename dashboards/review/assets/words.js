// What an edit changed, word by word, and hidden characters written out: as dashboards/reading does it in Python.

const HIDDEN =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff]/g;

function visible(text) {
  return text.replace(HIDDEN, (c) => {
    const code = c.codePointAt(0);
    return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });
}

// Runs of {kind: "=", "-", "+", text}. First by line, then by word within what changed; bounded in differences.
function changes(before, after) {
  const budget = { steps: 6_000_000 };
  const lines = (text) => text.match(/[^\n]*\n|[^\n]+/g) || [];
  const words = (text) => text.match(/\n|[^\S\n]+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];
  const out = [];
  let removed = "", added = "";
  const flush = () => {
    if (removed || added) out.push(...compare(words(removed), words(added), 800, budget));
    removed = added = "";
  };
  for (const run of compare(lines(before), lines(after), 1200, budget)) {
    if (run.kind === "-") removed += run.text;
    else if (run.kind === "+") added += run.text;
    else if (run.text) { flush(); out.push(run); }
  }
  flush();
  return joined(out);
}

function compare(a, b, most, budget) {
  const least = Math.min(a.length, b.length);
  let start = 0, end = 0;
  while (start < least && a[start] === b[start]) start++;
  while (end < least - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const old = a.slice(start, a.length - end), now = b.slice(start, b.length - end);
  const middle = (old.length && now.length && shortest(old, now, most, budget)) || [
    { kind: "-", text: old.join("") },
    { kind: "+", text: now.join("") },
  ];
  return [
    { kind: "=", text: a.slice(0, start).join("") },
    ...middle,
    { kind: "=", text: a.slice(a.length - end).join("") },
  ];
}

// Myers' shortest edit script (1986), or null when it has more than `most` differences or the budget is used up.
function shortest(a, b, most, budget) {
  const limit = Math.min(most, a.length + b.length), off = limit + 1;
  const reach = new Int32Array(2 * off + 1), trace = [];
  for (let d = 0; d <= limit; d++) {
    trace.push(reach.slice(off - d - 1, off + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && reach[off + k - 1] < reach[off + k + 1]);
      let x = down ? reach[off + k + 1] : reach[off + k - 1] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) { x++; budget.steps--; }
      reach[off + k] = x;
      budget.steps--;
      if (x >= a.length && x - k >= b.length) return wayBack(a, b, trace);
    }
    if (budget.steps < 0) return null;
  }
  return null;
}

function wayBack(a, b, trace) {
  const out = [];
  let x = a.length, y = b.length;
  for (let d = trace.length - 1; d >= 0; d--) {
    const reach = trace[d], at = (k) => reach[k + d + 1], k = x - y;
    const before = k === -d || (k !== d && at(k - 1) < at(k + 1)) ? k + 1 : k - 1;
    const px = at(before), py = px - before;
    while (x > px && y > py) { x--; y--; out.push({ kind: "=", text: a[x] }); }
    if (d) out.push(x === px ? { kind: "+", text: b[py] } : { kind: "-", text: a[px] });
    x = px;
    y = py;
  }
  return out.reverse();
}

function joined(found) {
  const out = [], runs = { "=": "", "-": "", "+": "" };
  const flush = () => {
    for (const kind of ["=", "-", "+"]) {
      if (runs[kind]) out.push({ kind, text: runs[kind] });
      runs[kind] = "";
    }
  };
  for (const { kind, text } of found) {
    if (kind === "=" && text && (runs["-"] || runs["+"])) flush();
    runs[kind] += text;
  }
  flush();
  return out;
}

// Puts the changes into `into`: <ins> and <del>, longer passages without a change cut to their ends.
function drawChanges(into, found, context = 160) {
  const made = document.createDocumentFragment();
  const put = (tag, text, name) => {
    const node = make(tag, { class: name });
    node.textContent = text;
    made.append(node);
  };
  found.slice(0, 4000).forEach(({ kind, text }, i) => {
    if (kind === "+") put("ins", visible(text));
    else if (kind === "-") put("del", visible(text));
    else {
      const head = i ? context : 0, tail = i < found.length - 1 ? context : 0;
      if (text.length > head + tail + 80) {
        put("span", visible(text.slice(0, head)));
        put("span", `${(text.length - head - tail).toLocaleString("en")} characters unchanged`, "gap");
        put("span", visible(tail ? text.slice(-tail) : ""));
      } else put("span", visible(text));
    }
  });
  if (!found.some((c) => c.kind !== "=")) put("p", "No changes yet.", "none");
  into.replaceChildren(made);
}

function countCharacters(text) {
  let n = text.length;
  for (const _ of text.matchAll(/[\ud800-\udbff][\udc00-\udfff]/g)) n--;
  return n;
}
