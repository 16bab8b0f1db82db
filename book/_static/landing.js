/* Plays the film of the first page once when it is seen; a button pauses it and plays it again. Without scripts, and
   until then where a reader asks for reduced motion, its last picture stands there. */
"use strict";

function wamFilm(film) {
  const frames = JSON.parse(film.dataset.frames), side = +film.dataset.side, columns = +film.dataset.columns;
  const canvas = film.querySelector("canvas"), button = film.querySelector("button");
  const set = (selector, text) => { film.querySelector(selector).textContent = text; };
  const percent = (share) => (100 * share).toFixed(share > 0.0995 ? 0 : 1) + " %";
  const scales = [...film.querySelectorAll(".scales li")];
  const sheet = new Image();
  let n = frames.length - 1, due = 0, waiting = 0;

  function show(k) {
    const [, words, probability, kept, lit] = frames[n = k];
    canvas.getContext("2d").drawImage(
      sheet, (k % columns) * side + 1, Math.floor(k / columns) * side + 1, side - 2, side - 2, 0, 0, side, side);
    canvas.hidden = false;
    set(".words", words);
    set("output", Math.round(100 * probability) + " %");
    set(".kept", percent(kept));
    film.querySelector(".meter b").style.setProperty("--share", probability);
    scales.forEach((li, i) => li.classList.toggle("dark", i >= lit));
  }
  function step(now) {
    if (now >= due) {
      if (n === frames.length - 1) { pause(); return; }
      show(n + 1);
      due = Math.max(due + 1000 * frames[n][0], now);
    }
    waiting = requestAnimationFrame(step);
  }
  function play() {
    if (waiting) return;
    if (n === frames.length - 1) show(0);
    film.classList.add("moving");
    button.textContent = "Pause";
    due = performance.now() + 1000 * frames[n][0];
    waiting = requestAnimationFrame(step);
  }
  function pause() {
    cancelAnimationFrame(waiting);
    waiting = 0;
    film.classList.remove("moving");
    button.textContent = n === frames.length - 1 ? "Play again" : "Play";
  }

  button.addEventListener("click", () => (waiting ? pause() : play()));
  sheet.addEventListener("load", () => {
    button.hidden = false;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const seen = new IntersectionObserver(([entry]) => {
      if (entry.isIntersecting) { seen.disconnect(); play(); }
    }, { threshold: 0.6 });
    seen.observe(canvas.parentElement);
  });
  sheet.src = canvas.dataset.sheet;
}

document.querySelectorAll(".wam-film").forEach(wamFilm);
