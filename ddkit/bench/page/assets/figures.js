"use strict";
// Charts and heat maps: one panel of each at a time, what a point is, methods hidden and shown.
(() => {
  const choosers = [...document.querySelectorAll("[data-chooses]")];
  const panels = (select) => [...document.querySelectorAll(`[data-panel="${select.dataset.chooses}"]`)];
  const choose = (select) => {
    panels(select).forEach((panel, index) => { panel.hidden = String(index) !== select.value; });
  };
  for (const select of choosers) {
    select.addEventListener("input", () => choose(select));
    choose(select);
  }
  // What the filter leaves out can't be chosen; another panel comes where it was shown.
  const follow = (fits) => {
    for (const select of choosers) {
      panels(select).forEach((panel, index) => {
        select.options[index].disabled = select.options[index].hidden = !fits(panel);
      });
      const left = [...select.options].filter((option) => !option.disabled);
      if (left.length && select.selectedOptions[0]?.disabled) select.value = left[0].value;
      choose(select);
    }
  };
  document.addEventListener("filtered", (event) => follow(event.detail));
  document.getElementById("filters")?.dispatchEvent(new Event("input"));

  for (const button of document.querySelectorAll("[data-legend]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const series of button.closest(".panel").querySelectorAll(".series")) {
        if (series.dataset.series === button.dataset.legend) {
          series.style.display = shown ? "" : "none";
        }
      }
    });
  }

  const tip = document.getElementById("tip");
  const show = (point) => {
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    const at = point.querySelector(".target").getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const left = Math.min(innerWidth - size.width - 8, Math.max(8, at.left + at.width / 2 - size.width / 2));
    const above = at.top - size.height - 6;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 6}px`;
  };
  const hide = () => { tip.hidden = true; };
  for (const svg of document.querySelectorAll(".chart svg")) {
    const points = [...svg.querySelectorAll(".point")];
    points.forEach((point, index) => {
      point.querySelector("title").remove(); // the tip says it, and says it at once
      // one stop of the tab key per chart, arrows within
      point.setAttribute("tabindex", index ? "-1" : "0");
      point.addEventListener("mouseenter", () => show(point));
      point.addEventListener("mouseleave", hide);
      point.addEventListener("focus", () => show(point));
      point.addEventListener("blur", hide);
      point.addEventListener("keydown", (event) => {
        if (event.key === "Escape") hide();
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const visible = points.filter((each) => each.getClientRects().length);
        const next = visible[(visible.indexOf(point) + step + visible.length) % visible.length];
        for (const each of points) each.setAttribute("tabindex", each === next ? "0" : "-1");
        next.focus();
      });
    });
  }
  addEventListener("scroll", hide, { passive: true });
})();
