// Pieces of the page: elements, the blocks of a reply, and the panels beside it. Strings go in as text; only what
// dashboards/reading made (exact_blocks, html_blocks, html) goes in as HTML.

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

function fromReading(node, html) {
  node.innerHTML = html;
  return node;
}

const shortKey = (key) => key.replace("Shift+", "⇧").replace("Ctrl+", "Ctrl ").replace("Escape", "Esc");

function keyCap(key) {
  return make("kbd", { "aria-hidden": "true" }, shortKey(key));
}

// One reply as rows: exact at the left, rendered at the right, of the same height, so that they stay side by side.
function drawReply(reply, folded) {
  const rows = make("div", { class: "rows" });
  const exact = reply.exact_blocks, html = reply.html_blocks || [], cut = new Set(reply.cut || []);
  const parts = [];
  for (let i = 0; i < exact.length; i++) {
    const answer = reply.answer_block !== null && reply.answer_block !== undefined && i >= reply.answer_block;
    const raw = html[i] === null || html[i] === undefined;
    // An estimate of its height, so that the scroll bar is about right before a row was ever laid out.
    const lines = exact[i].split("\n").length - 1 + Math.ceil(exact[i].length / 90);
    parts.push(
      `<div class="row${raw ? " raw" : ""}${answer ? " answer" : ""}${cut.has(i) ? " cut" : ""}${folded ? " folded" : ""}"` +
        ` data-i="${i}" style="--lines:${lines}"><button class="fold" tabindex="-1" aria-label="Fold paragraph ${i + 1}"` +
        ` aria-expanded="${!folded}">${i + 1}</button><div class="ex" dir="auto">${exact[i]}</div>` +
        `<div class="re" dir="auto">${raw ? "" : html[i]}</div></div>`,
    );
  }
  if (!exact.length) parts.push('<div class="row"><div class="empty">The reply is empty.</div></div>');
  fromReading(rows, parts.join(""));
  return rows;
}

function drawProblem(messages) {
  return messages.map((m) =>
    make(
      "div", { class: "message" },
      make("span", { class: "role" }, m.role || ""),
      m.exact_html ? fromReading(make("div", { class: "ex", dir: "auto" }), m.exact_html)
        : make("div", { class: "ex", dir: "auto" }, visible(m.text || "")),
      m.html ? fromReading(make("div", { class: "re", dir: "auto" }), m.html)
        : make("div", { class: "re", dir: "auto" }, visible(m.text || "")),
    ),
  );
}

function drawSide(shown) {
  const parts = [];
  const has = shown.reference !== null && shown.reference !== undefined;
  parts.push(
    make(
      "section", { class: "reference", "aria-label": "Reference" }, make("h3", {}, "Reference"),
      has ? make("div", { class: "ex", dir: "auto" }, visible(shown.reference)) : make("p", { class: "none" }, "none"),
      has && shown.reference_html ? fromReading(make("div", { class: "re", dir: "auto" }), shown.reference_html) : null,
    ),
  );
  const evidence = shown.evidence || [];
  if (evidence.length) {
    parts.push(
      make(
        "section", { class: "evidence", "aria-label": "Evidence" }, make("h3", {}, "Evidence"),
        make("ul", {}, ...evidence.map((e) =>
          make(
            "li", {},
            make("span", { class: `outcome ${["pass", "fail", "undecided", "error"].includes(e.outcome) ? e.outcome : ""}` },
              e.outcome || ""),
            make("span", { class: "check" }, visible(String(e.check || ""))),
            e.score === null || e.score === undefined ? null : make("span", { class: "score" }, String(+(+e.score).toFixed(3))),
            e.reason ? make("div", { class: "why" }, visible(String(e.reason))) : null,
          ))),
      ),
    );
  }
  const said = shown.said || [];
  if (said.length) {
    parts.push(
      make(
        "section", { class: "said", "aria-label": "What others said" }, make("h3", {}, "What others said"),
        ...said.map((s) =>
          make(
            "div", { class: "opinion" },
            make("div", {}, make("b", {}, visible(s.reviewer || "")), " ", make("span", { class: `verdict ${/^[a-z_]+$/.test(s.verdict) ? s.verdict : ""}` }, s.verdict || "")),
            (s.reasons || []).length ? make("div", { class: "why" }, s.reasons.map(visible).join(" · ")) : null,
            s.note ? make("blockquote", {}, visible(s.note)) : null,
            s.text !== null && s.text !== undefined && s.text !== "" ? drawEdit(shown, s) : null,
          )),
      ),
    );
  }
  return parts;
}

function drawEdit(shown, said) {
  const into = make("div", { class: "changes" });
  const details = make("details", { ontoggle: () => {
    if (details.open && !into.firstChild) drawChanges(into, changes(shown.reply ? shown.reply.text : "", said.text), 80);
  } }, make("summary", {}, "their edit"), into);
  return details;
}

function drawHelp(keys, kind, close) {
  const groups = {};
  for (const k of keys) if (k.when === "always" || k.when === kind || !k.when) (groups[k.group || "Keys"] ||= []).push(k);
  return make(
    "div", { class: "sheet", role: "dialog", "aria-modal": "true", "aria-label": "Keys" },
    make("header", {}, make("h2", {}, "Keys"), make("button", { class: "quiet", onclick: close }, "Close ", keyCap("Escape"))),
    make("div", { class: "groups" }, ...Object.entries(groups).map(([name, list]) =>
      make("section", {}, make("h3", {}, name), make("dl", {}, ...list.flatMap((k) => [
        make("dt", {}, make("kbd", {}, shortKey(k.key))), make("dd", {}, k.label)]))))),
    make("p", { class: "none" }, "Single letters do nothing while you write in a field; Ctrl+Enter always sends, Escape leaves the field."),
  );
}

// An offset in code points as one in UTF-16, which the browser counts in.
function utf16(text, points) {
  let at = 0;
  for (let n = 0; n < points && at < text.length; n++) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

const isField = (node) =>
  node instanceof HTMLElement &&
  (node.isContentEditable || node.matches("textarea, select, input:not([type=checkbox]):not([type=radio]):not([type=button])"));

function notes(reply, tag = "span") {
  return (reply.notes || []).map((n) => make(tag, { class: "limit" }, n));
}
