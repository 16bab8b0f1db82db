"""The built pages in a browser, on a desktop and on a phone, light and dark: they fit, work, and everyone can use them.

The pages are those of `WAM_SITE`, or those that `make smoke` builds; the browser is the system's Chromium or Chrome, or
the one that `WAM_BROWSER` names. Where there is none the tests are skipped; with `WAM_BROWSER=required` they fail.
"""

import functools
import http.server
import os
import re
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import sync_playwright

import check_site

SITE = Path(os.environ.get("WAM_SITE") or Path(__file__).parents[1] / "build/smoke-site/_build/html")
TEXTS = {p.relative_to(SITE).as_posix(): p.read_text(encoding="utf-8") for p in check_site.pages(SITE)}
PAGES = [name for name, text in TEXTS.items() if 'http-equiv="refresh"' not in text] or ["none"]
WIDTHS = (1280, 390)
NAMED = os.environ.get("WAM_BROWSER", "")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--autoplay-policy=no-user-gesture-required", "--mute-audio", "--disable-background-networking")

# what sticks out itself: not what scrolls or is cut inside of something that fits
WIDE = """() => {
    const cuts = e => getComputedStyle(e).overflowX !== 'visible';
    const inside = e => e && e !== document.body && (cuts(e) || inside(e.parentElement));
    return [...document.querySelectorAll('body *')]
        .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
        .filter(e => !inside(e.parentElement)).slice(-3).map(e => e.outerHTML.slice(0, 90)).join(' ... ');
}"""
# Contrast takes axe minutes on a long page. It depends on colours and sizes alone: two elements of each look are tried.
LOOKS = """() => {
    const seen = {}, clear = e => /^(transparent|rgba\\(.*, 0\\))$/.test(getComputedStyle(e).backgroundColor);
    for (const e of document.querySelectorAll('[data-look]')) e.removeAttribute('data-look');
    for (const e of document.querySelectorAll('body *:not(mjx-container *, script, style)')) {
        if (![...e.childNodes].some(child => child.nodeType === 3 && child.data.trim())) continue;
        const style = getComputedStyle(e);
        let ground = e;
        while (clear(ground) && ground.parentElement) ground = ground.parentElement;
        const look = [style.color, style.fontSize, style.fontWeight, style.opacity, style.textDecorationLine,
            getComputedStyle(ground).backgroundColor, !!e.closest('p') && e.tagName];
        seen[look] = (seen[look] || 0) + 1;
        if (seen[look] <= 2) e.setAttribute('data-look', '');
    }
}"""
UNREAD = """() => [...document.querySelectorAll('mjx-merror, mjx-mtext[style*="color: red"]')]
    .map(e => e.dataset.mjxError || e.closest('mjx-container').parentElement.textContent)"""
CONTRAST = ("color-contrast", "link-in-text-block")
VISIBLE = "e => [...e.closest('figure').querySelectorAll('img')].filter(i => i.offsetHeight).map(i => i.src).join()"
PLAY = """e => new Promise(done => {
    const said = () => e.error ? `error ${e.error.code}: ${e.error.message}` : '';
    setTimeout(() => done(said() || `stands at ${e.currentTime} of ${e.duration} s`), 15000);
    e.onerror = () => done(said());
    e.ontimeupdate = () => { if (e.currentTime > Math.min(.2, e.duration / 2)) {
        e.ontimeupdate = null; e.onended = () => done(said()); e.currentTime = Math.max(0, e.duration - .2); } };
    e.play().catch(error => done(String(error)));
})"""


def missing(reason: str) -> None:
    """Skip, or fail where a browser is required."""
    (pytest.fail if NAMED == "required" else pytest.skip)(reason)


@contextmanager
def served(folder: Path):
    """The address of a folder that is served on a free port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser():
    paths = [NAMED] if NAMED not in ("", "required") else [p for p in map(shutil.which, NAMES) if p]
    if not paths:
        missing(f"no browser: install one of {', '.join(NAMES)}, or name one by WAM_BROWSER")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=paths[0], args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site():
    if not TEXTS:
        missing(f"no pages in {SITE}: make smoke builds them, or name a folder by WAM_SITE")
    with served(SITE) as address:
        yield address


class Visit:
    """A page in a window of its own; `faults` collects what goes wrong while it is open."""

    def __init__(self, browser, address: str, width: int, settle: bool = True):
        self.faults, self.origin = [], "/".join(address.split("/")[:3])
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light")
        self.page = self.context.new_page()
        self.context.route("**/*", self._local)
        self.page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))
        self.page.on("console", lambda m: m.type == "error" and self.faults.append(f"console: {m.text}"))
        self.page.on("response", lambda r: r.status >= 400 and self.faults.append(f"status {r.status}: {r.url}"))
        self.page.goto(address)
        if settle:
            self.page.evaluate("async () => { await document.fonts.ready; await window.MathJax?.startup?.promise }")

    def _local(self, route):
        if route.request.url.startswith((self.origin + "/", "data:", "blob:")):
            return route.continue_()
        self.faults.append(f"needs a network: {route.request.url[:100]}")
        return route.abort()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def look(self, theme: str, rest: bool) -> None:
        """Switch to a theme; note whether the page scrolls sideways, and what axe finds, by `rest` beyond contrast."""
        self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        if self.page.locator("html[data-mode]").count():
            self.page.wait_for_selector(f"html[data-theme={theme}]")
        self.page.evaluate("() => document.getAnimations().forEach(move => move.finish())")
        width, room = self.page.evaluate("(e => [e.scrollWidth, e.clientWidth])(document.scrollingElement)")
        if width > room:
            self.faults.append(f"{theme}: {width} px wide in {room}: {self.page.evaluate(WIDE)}")
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        self.page.evaluate(LOOKS)
        self._axe(theme, "{include: ['[data-look]']}", {"runOnly": {"type": "rule", "values": CONTRAST}})
        if rest:
            self._axe(theme, "document", {"rules": {rule: {"enabled": False} for rule in CONTRAST}})

    def _axe(self, theme: str, where: str, options: dict) -> None:
        run = f"options => axe.run({where}, options)"
        for found in self.page.evaluate(run, options | {"reporter": "no-passes", "preload": False})["violations"]:
            said = [
                check["message"] for node in found["nodes"][:1] for check in node["any"] + node["all"] + node["none"]
            ]
            nodes = [node["html"][:160] for node in found["nodes"]]
            what = f"{found['id']}, {found['impact']}, {len(nodes)} times: {' '.join(said)}"
            self.faults.append(f"{theme}: {what}: {' | '.join(nodes[:3])}")


def inspect(browser, address: str, width: int) -> list[str]:
    """What is wrong with a page at this width, light and dark."""
    with Visit(browser, address, width) as visit:
        visit.faults += [f"formula: {error}" for error in visit.page.evaluate(UNREAD)]
        visit.look("light", rest=True)
        visit.look("dark", rest=False)
        return visit.faults


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<p>Nothing is wrong.</p>", None),
        ('<div style="width:2000px">wide</div>', "px wide in 1280: <div"),
        (
            '<div style="overflow-x:auto" tabindex="0"><p style="width:3000px">in</p></div><b>' + "wide" * 999 + "</b>",
            "px wide in 1280: <b>",
        ),
        ("<script>console.error('lost')</script>", "console: lost"),
        ("<script>lost()</script>", "script error: lost is not defined"),
        ('<img src="none.png" alt="Noise">', "status 404"),
        ('<img src="https://a.example/b.png" alt="Noise">', "needs a network"),
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image-alt"),
        ('<p style="color:#aaa;background:#fff">pale</p>', "light: color-contrast"),
        (
            "<style>@media (prefers-color-scheme:dark){p{color:#666;background:#222}}</style><p>dim</p>",
            "dark: color-contr",
        ),
        (
            '<div style="overflow-x:auto;width:90px"><table><tr><td>unbreakableunbreakable</table></div>',
            "scrollable-region-focusable",
        ),
        ('<input type="text">', "label"),
        ('<a href="#"></a>', "link-name"),
        ("<h3>deep</h3>", "heading-order"),
        ('<mjx-merror data-mjx-error="Undefined control sequence">x</mjx-merror>', "formula: Undefined control"),
    ],
)
def test_a_fault_is_found(browser, tmp_path, body, fault):
    head = '<!DOCTYPE html><html lang="en"><title>One</title><link rel="icon" href="data:,">'
    (tmp_path / "page.html").write_text(f"{head}<main><h1>One</h1>{body}</main>")
    with served(tmp_path) as address:
        found = inspect(browser, f"{address}/page.html", WIDTHS[0])
    assert any(fault in line for line in found) if fault else not found, found


def having(pattern: str) -> list[str]:
    return [name for name, text in TEXTS.items() if re.search(pattern, text)] or ["none"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_works_and_is_accessible(site, browser, name, width):
    assert inspect(browser, f"{site}/{name}", width) == []


def test_front_page_leads_to_the_book(site, browser):
    with Visit(browser, f"{site}/index.html", WIDTHS[0], settle=False) as visit:
        visit.page.wait_for_selector("article h1")
        assert visit.faults == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", having(r"<input[^>]* type=.range"))
def test_sliders_move_by_mouse_and_keyboard(site, browser, name, width):
    with Visit(browser, f"{site}/{name}", width) as visit:
        sliders = visit.page.locator("figure input[type=range]")
        assert sliders.count() > 0
        for slider in sliders.all():
            seen = [(slider.evaluate(VISIBLE), slider.get_attribute("aria-valuetext"))]
            for key in ("ArrowRight", "ArrowLeft", "End"):
                slider.press(key)
                seen.append((slider.evaluate(VISIBLE), slider.get_attribute("aria-valuetext")))
            first, second, again, last = seen
            assert first == again != second and last != first and all(all(pair) for pair in seen)
            box = slider.bounding_box()
            slider.click(position={"x": 4, "y": box["height"] / 2})
            assert (slider.evaluate(VISIBLE), slider.get_attribute("aria-valuetext")) == first
            slider.click(position={"x": box["width"] - 4, "y": box["height"] / 2})
            assert (slider.evaluate(VISIBLE), slider.get_attribute("aria-valuetext")) == last
        assert visit.faults == []


@pytest.mark.parametrize("name", having("<audio"))
def test_players_play_to_their_end(site, browser, name):
    with Visit(browser, f"{site}/{name}", WIDTHS[0]) as visit:
        said = visit.page.locator("audio").evaluate_all(f"all => Promise.all(all.map({PLAY}))")
        assert said and not any(said), said
        assert visit.faults == []


@pytest.mark.parametrize("width", WIDTHS)
def test_search_finds(site, browser, width):
    with Visit(browser, f"{site}/{having('search-button__button')[0]}", width) as visit:
        visit.page.locator(".search-button__button:visible").first.click()
        visit.page.keyboard.type("wavelet")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector("#search-results ul.search li a")
        assert "wavelet" in visit.page.locator("#search-results").inner_text().lower()
        visit.page.goto(f"{site}/search.html?q=zxqvj")
        visit.page.wait_for_function("document.querySelector('#search-results').innerText.includes('did not match')")
        assert visit.faults == []
