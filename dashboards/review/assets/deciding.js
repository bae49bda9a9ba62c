// Verdicts, reasons, and the acts that the server is asked to do.

class Deciding extends Writing {
  drawActions() {
    const edited = this.edited();
    const list = this.kind() === "pair"
      ? [["left", "Left"], ["tie", "Tie"], ["right", "Right"]].filter(() => this.can("prefer"))
      : [["approve", edited ? "Save edit" : "Approve", edited ? "edit" : "approve"], ["edit", this.editing ? "Close editor" : "Edit", "edit"], ["reject", "Reject"]]
        .filter(([action, , needs]) => this.can(needs || action));
    if (this.can("flag")) list.push(["flag", "Flag"]);
    if (this.can("skip")) list.push(["skip", "Skip"]);
    if (this.shown.can?.undo !== false) list.push(["undo", "Undo"]);
    if (!this.shown.task || this.shown.can?.next) list.push(["next", "Next"]);
    const state = JSON.stringify([list, this.verdict, Boolean(this.busy)]);
    if (state === this.actionsState) return;
    this.actionsState = state;
    this.el.actions.replaceChildren(...list.map(([action, text]) =>
      make("button", {
        class: action, "data-do": action, "aria-pressed": ["reject", "flag"].includes(action) ? String(this.verdict === action) : undefined,
        "aria-keyshortcuts": this.capOf(action), onclick: () => this.perform(action),
      }, text, this.capOf(action) ? keyCap(this.capOf(action)) : "")));
    if (this.verdict) this.el.actions.append(make("button", { class: "send", "data-do": "confirm", onclick: () => this.perform("confirm") }, `Send ${this.verdict}`, keyCap("Enter")));
    this.root.classList.toggle("busy", Boolean(this.busy));
  }

  drawReasons() {
    const open = Boolean(this.verdict) && (this.shown.reasons || []).length > 0;
    this.el.reasons.hidden = !open;
    this.el.reasons.replaceChildren(...(open ? this.shown.reasons : []).map((r, i) =>
      make("button", { "aria-pressed": String(this.reasons.has(r.code)), onclick: () => this.toggleReason(i) }, r.key ? keyCap(r.key) : "", visible(r.label || r.code))));
  }

  drawVerdict() { this.drawReasons(); this.drawActions(); }

  setVerdict(verdict) {
    if (!this.can(verdict)) return this.said(`You cannot ${verdict} here.`);
    this.verdict = verdict;
    this.drawVerdict();
    this.written();
    if (verdict === "flag") this.el.note.focus();
    this.said(verdict === "flag" ? "Say in the note what an adjudicator should know, then Ctrl+Enter." : "Choose reasons by digit, then Enter.");
  }

  toggleReason(i) {
    const reason = (this.shown.reasons || [])[i];
    if (!reason) return;
    if (!this.verdict) {
      if (!this.can("reject")) return;
      this.verdict = "reject";
    }
    if (!this.reasons.delete(reason.code)) this.reasons.add(reason.code);
    this.drawVerdict();
    this.written();
  }

  sendChosen() {
    if (this.verdict === "reject" && (this.shown.reasons || []).length && !this.reasons.size) return this.said("Choose at least one reason: a digit.");
    if (this.verdict) return this.act(this.verdict);
    if (this.kind() === "pair") return this.said("Choose a side first: left, right or tie.");
    return this.act(this.edited() ? "edit" : "approve");
  }

  act(what) {
    const needs = { left: "prefer", right: "prefer", tie: "prefer", undo: null, next: null, renew: null, discard_draft: null };
    const need = what in needs ? needs[what] : what;
    if (this.busy) return this.said("Still sending the last one…");
    if (need && !this.can(need)) return this.said(`You cannot ${what.replace("_", " ")} here.`);
    const draft = this.draft();
    const renews = what === "renew";
    const nonce = renews || !this.nonce ? crypto.randomUUID?.() || randomId() : this.nonce;
    const payload = { task: this.shown.task || "", nonce, do: what, ...draft };
    delete payload.verdict;
    if (!renews) {
      // What is on its way is no draft any more, but this browser keeps it until the server has answered.
      this.drafts.stop();
      if (this.drafts.n > this.drafts.saved) this.drafts.keep();
      this.busy = { nonce, do: what, at: performance.now() };
      this.drawActions();
    }
    this.component.setTriggerValue("act", payload);
  }

  answered(task) {
    const { busy } = this;
    this.busy = this.nonce = null;
    if (["approve", "reject", "edit", "flag", "skip", "left", "right", "tie", "discard_draft"].includes(busy.do)) {
      const refused = this.shown.task === task && busy.do !== "discard_draft";
      if (refused) this.drafts.flush();
      else this.drafts.forget(task);
      if (busy.do === "discard_draft" && this.shown.task === task) {
        this.drafts.open(task);
        this.take({});
        this.loaded = this.draft();
        this.el.conflict.hidden = true;
        this.setEditing(false);
        this.said("Your changes are discarded.");
      }
    }
    this.drawActions();
  }

  discard() {
    if (this.discarding && Date.now() - this.discarding < 5000) { this.discarding = 0; return this.act("discard_draft"); }
    this.discarding = Date.now();
    return this.said("Press the same keys again to discard your changes, text and note.");
  }
}
