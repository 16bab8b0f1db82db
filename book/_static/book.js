// Folded cells that follow each other and show nothing of their own open as one.
for (const cell of document.querySelectorAll(".bd-article .cell.tag_hide-input:not(:has(.cell_output))")) {
  const next = cell.nextElementSibling;
  if (next?.matches(".cell.tag_hide-input")) {
    next.querySelector("summary").after(...cell.querySelectorAll(".cell_input"));
    cell.remove();
  }
}

// What scrolls sideways can be scrolled by the arrow keys too: such a box, and no other, takes the focus.
function reachable() {
  for (const box of document.querySelectorAll(".bd-article :is(div, pre, table)")) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
    if (scrolls && !box.hasAttribute("tabindex")) {
      box.tabIndex = 0;
      box.dataset.reachable = "";
    } else if (!scrolls && "reachable" in box.dataset) {
      box.removeAttribute("tabindex");
      delete box.dataset.reachable;
    }
  }
}

addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(reachable));
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);
