// Going about in a reply: paragraphs, folds, views, and jumps to places.

const VIEWS = ["side", "exact", "rendered"];
const remembered = (name, otherwise) => {
  try { return localStorage.getItem("dataengine:" + name) ?? otherwise; } catch { return otherwise; }
};
const remember = (name, value) => {
  try { localStorage.setItem("dataengine:" + name, value); } catch { /* a browser without storage */ }
};

class Reading {
  kind() { return this.shown.a && this.shown.b ? "pair" : "attempt"; }

  can(what) { return Boolean(this.shown.task) && this.shown.can?.[what] !== false && (this.shown.can ? Boolean(this.shown.can[what]) : true); }

  capOf(action) { return (this.shown.keys || []).find((k) => k.action === action)?.key; }

  said(text) {
    if (this.el.message.textContent !== text) this.el.message.textContent = text;
    this.saidAt = Date.now();
  }

  nextView() {
    const views = this.kind() === "pair" ? ["exact", "rendered"] : VIEWS;
    return views[(views.indexOf(this.view) + 1) % views.length];
  }

  setView(view) {
    this.view = view;
    remember("view", view);
    const used = this.kind() === "pair" && view === "side" ? "exact" : view;
    for (const v of VIEWS) this.root.classList.toggle(`view-${v}`, v === used);
    for (const b of this.el.views.children) b.setAttribute("aria-pressed", String(b.dataset.view === used));
    this.el.views.children[0].hidden = this.kind() === "pair";
  }

  choose(i) {
    this.column = i;
    this.columns.forEach((c, j) => c.box.classList.toggle("chosen", i === j));
    this.here = null;
  }

  rows() { return [...(this.columns[this.column && this.columns.length > 1 ? this.column : 0]?.rows.children || [])]; }

  rowOf(node) { return node.closest(".row"); }

  step(by) {
    const rows = this.rows(), at = this.here ? rows.indexOf(this.rowOf(this.here)) : this.firstSeen(rows) - (by > 0 ? 1 : 0);
    const row = rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
    if (row && !this.editing) this.goTo(row, "start");
  }

  firstSeen(rows) {
    const top = this.el.body.getBoundingClientRect().top;
    return Math.max(0, rows.findIndex((r) => r.getBoundingClientRect().bottom > top + 4));
  }

  goTo(node, block = "center") {
    if (this.editing) this.setEditing(false);
    const row = this.rowOf(node);
    if (row !== node && row.classList.contains("folded")) this.foldRow(row, false);
    this.here = node;
    for (const old of this.root.querySelectorAll(".row.here, .at.hit, mark.hit")) old.classList.remove("here", "hit");
    row.classList.add("here");
    if (row !== node) node.classList.add("hit");
    const to = row !== node && node.offsetParent !== null ? node : row;
    to.scrollIntoView({ block: to === row && row !== node ? "start" : block, inline: "nearest" });
  }

  go(kind, by) {
    const mine = this.found[kind].filter((n) => this.columns.length < 2 || this.columns[this.column].rows.contains(n));
    if (!mine.length) return this.said({ wait: "No reflective word here.", mark: "No mark here.", box: "No box here." }[kind]);
    const after = (n) => this.here && this.here.compareDocumentPosition(n) & Node.DOCUMENT_POSITION_FOLLOWING && n !== this.here;
    const before = (n) => this.here && this.here.compareDocumentPosition(n) & Node.DOCUMENT_POSITION_PRECEDING;
    const next = !this.here ? (by > 0 ? mine[0] : mine.at(-1)) : by > 0 ? mine.find(after) : mine.findLast(before);
    this.goTo(next || (by > 0 ? mine[0] : mine.at(-1)));
    const i = mine.indexOf(this.here) + 1;
    this.said(mine.length > 1 ? `${i} of ${mine.length}${next ? "" : by > 0 ? ", from the beginning again" : ", from the end again"}` : "");
  }

  goAnswer() {
    const { reply, rows } = this.columns[this.columns.length > 1 ? this.column : 0] || {};
    if (!reply || reply.answer_block === null || reply.answer_block === undefined) return this.said("No </think> here: no answer apart from the reasoning.");
    this.goTo(rows.children[reply.answer_block], "start");
  }

  foldRow(row, folded = !row.classList.contains("folded")) {
    row.classList.toggle("folded", folded);
    row.querySelector(".fold")?.setAttribute("aria-expanded", String(!folded));
  }

  foldAll() {
    const rows = this.columns.flatMap((c) => [...c.rows.children]);
    const folded = !rows.every((r) => r.classList.contains("folded"));
    for (const row of rows) this.foldRow(row, folded);
    remember("folded", folded ? "yes" : "no");
    const here = this.here && this.rowOf(this.here);
    if (here) here.scrollIntoView({ block: "nearest" });
  }

  clicked(event) {
    const row = event.target.closest?.(".row");
    if (!row) return;
    if (this.columns.length > 1) this.choose(this.columns.findIndex((c) => c.rows.contains(row)));
    if (event.target.closest(".fold") || row.classList.contains("folded")) this.foldRow(row);
    this.here = row;
  }

  drawJumps() {
    const { el } = this;
    this.found = { wait: [], mark: [], box: [] };
    for (const { rows } of this.columns) for (const node of rows.querySelectorAll("[data-at]")) this.found[node.dataset.at]?.push(node);
    const answers = this.columns.some((c) => c.reply.answer_block !== null && c.reply.answer_block !== undefined);
    const chip = (action, text, there) => there ? make("button", { class: "chip", "data-do": action, onclick: () => this.perform(action) }, text, keyCap(this.capOf(action) || "")) : null;
    const legend = new Map();
    for (const { reply } of this.columns) for (const g of reply.legend || []) legend.set(g.what, { ...g, n: g.n + (legend.get(g.what)?.n || 0) });
    const size = this.columns.map((c) => c.reply.text.length).reduce((a, b) => a + b, 0);
    el.jumps.replaceChildren(...[
      chip("answer", "Answer", answers), chip("box", "Box", this.found.box.length),
      chip("wait", `Waits ${this.found.wait.length}`, this.found.wait.length), chip("mark", `Marks ${this.found.mark.length}`, this.found.mark.length),
      this.columns.length ? chip("fold_all", "Fold all", true) : null,
      ...[...legend.values()].map((g) => make("span", { class: "legend" }, make("mark", { class: `m${+g.colour}` }, visible(g.what)), ` ${g.n}`)),
      make("span", { class: "space" }),
      this.columns.length ? make("span", { class: "none" }, `${size.toLocaleString("en")} characters`) : null,
    ].filter(Boolean));
  }
}
