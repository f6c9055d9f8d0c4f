"""The live manifold in real JupyterLab and Notebook 7: Python reads what the reader moves, and moves what is seen."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from ncamlib.machine import browser as find_browser

CHROMIUM = find_browser()
CELLS = [
    "from ncamlib.live import LiveManifold\nlive = LiveManifold()\nlive",
    "from pathlib import Path\n"
    "def follow(change):\n"
    "    Path('seen.txt').write_text(f'{live.mutation_rate} {live.emoji}')\n"
    "    live.steps_per_second = 77\n"
    "live.observe(follow, ['mutation_rate', 'emoji'])\n"
    "Path('seen.txt').touch()",
]
BUTTON = ".ncam .all button >> nth=3"


@pytest.fixture(params=["jupyterlab", "notebook"])
def lab(request, tmp_path):
    pytest.importorskip(request.param)
    cell = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [{**cell, "id": f"c{i}", "source": source} for i, source in enumerate(CELLS)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "live.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--allow-root",
        "--no-browser",
        f"--port={port}",
        "--IdentityProvider.token=",
        f"--notebook-dir={tmp_path}",
    ]
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen([sys.executable, "-m", request.param, *options], env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=1).close()
            break
        except OSError:
            time.sleep(0.5)
    yield f"{address}/{'lab/tree' if request.param == 'jupyterlab' else 'notebooks'}/live.ipynb", tmp_path / "seen.txt"
    server.terminate()
    server.wait(timeout=30)
    log.close()


def until(page, holds):
    """Wait until something holds, at most 30 s; the page goes on meanwhile."""
    for _ in range(120):
        if holds():
            return
        page.wait_for_timeout(250)
    raise AssertionError("it did not happen within 30 s")


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_traits_go_both_ways(lab):
    from playwright.sync_api import sync_playwright

    url, seen = lab
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(180_000)  # where all cores are busy, a kernel's imports take long
        page.goto(url)
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_timeout(3000)  # the kernel starts
        page.click("text=Run >> nth=0")
        page.click("text=Run All Cells >> nth=0")
        page.wait_for_selector(".ncam .picture")
        page.wait_for_function("document.querySelector('.ncam').dataset.state === 'grown'")
        until(page, seen.exists)  # the second cell has run
        page.evaluate(
            """() => {
              const e = document.querySelector('.ncam [name=mutation]');
              e.value = 0.4; e.dispatchEvent(new Event('input', { bubbles: true }));
            }"""
        )
        page.wait_for_selector(BUTTON, state="attached")  # the kernel has sent the manifold
        page.wait_for_function("document.querySelector('.ncam [name=speed]').value === '77'")
        assert seen.read_text().split() == ["0.4", "#"]
        page.evaluate("document.querySelectorAll('.ncam .all button')[3].click()")
        until(page, lambda: re.fullmatch(r"0\.4 [^#]+", seen.read_text()))  # empty while it is being written
        browser.close()
