# browser.py - drives a headless Chromium over the pipe of its DevTools protocol.
#
# SPDX-License-Identifier: MIT
import base64
import json
import os
import select
import struct
import subprocess
import time
import zlib


class Browser:
    """One Chromium with one page.  What the page logs, throws, or asks the
    network for is kept in .problems and .requests."""

    def __init__(self, folder):
        to_browser, from_us = os.pipe()
        from_browser, to_us = os.pipe()

        def pipes():
            # Copies first: 3 and 4 may be among the descriptors themselves.
            a, b = os.dup(to_browser), os.dup(to_us)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.log = open(os.path.join(folder, "browser.log"), "wb")
        self.process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--force-color-profile=srgb",
             "--user-data-dir=" + os.path.join(folder, "profile"),
             "--remote-debugging-pipe", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            preexec_fn=pipes, close_fds=False,
            env=dict(os.environ, HOME=folder))
        os.close(to_browser)
        os.close(to_us)
        self.out, self.inp = from_us, from_browser
        self.buffer = b""
        self.number = 0
        self.session = None
        self.problems, self.requests, self.loads = [], [], 0
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", flatten=True,
                                 targetId=page["targetId"])["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def message(self):
        deadline = time.monotonic() + 40
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.inp], [], [], left)[0]:
                raise RuntimeError("the browser does not answer")
            more = os.read(self.inp, 1 << 20)
            if not more:
                raise RuntimeError("the browser is gone")
            self.buffer += more
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def event(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loads += 1
        elif method == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(params["args"])
        elif method == "Log.entryAdded":
            self.problems.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data):]
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(method + ": " + str(answer["error"]))
                return answer["result"]
            self.event(answer)

    def open(self, path, scheme="light", width=1150, height=1000, scripts=True):
        """Opens a file; forgets what was noted before."""
        self.call("Emulation.setDeviceMetricsOverride", width=width,
                  height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.media(scheme)
        self.problems, self.requests, self.loads = [], [], 0
        url = "file://" + os.path.abspath(path)
        result = self.call("Page.navigate", url=url)
        if "errorText" in result:
            raise RuntimeError(result["errorText"])
        while self.loads == 0:
            self.event(self.message())
        return url

    def media(self, scheme="light", media=""):
        self.call("Emulation.setEmulatedMedia", media=media, features=[
            {"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script,
                           returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x, y, count=1):
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=count)

    def key(self, key, text=None):
        more = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def centre(self, selector, n=0):
        """Where on the screen the n-th such element is, scrolled to."""
        return self.run("""(() => {
            const e = document.querySelectorAll(%s)[%d];
            const seen = e.getBoundingClientRect();
            if (seen.top < 0 || seen.bottom > innerHeight)
                e.scrollIntoView({block: 'center', behavior: 'instant'});
            const r = e.getBoundingClientRect();
            return [r.left + r.width / 2, r.top + r.height / 2]; })()"""
                        % (json.dumps(selector), n))

    def hover(self, selector, n=0):
        x, y = self.centre(selector, n)
        self.mouse("mouseMoved", x, y)
        return x, y

    def screenshot(self, path=None, height=100):
        """The pixels of the upper part; the whole goes to a file."""
        if path:
            data = self.call("Page.captureScreenshot")["data"]
            with open(path, "wb") as f:
                f.write(base64.b64decode(data))
        data = self.call("Page.captureScreenshot", clip={
            "x": 0, "y": 0, "width": 1000, "height": height, "scale": 1})
        return Pixels(base64.b64decode(data["data"]))

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (RuntimeError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pixels:
    """A PNG of 8 bits for each channel, as Chromium makes them."""

    def __init__(self, data):
        at, packed = 8, b""
        while at < len(data):
            length, kind = struct.unpack(">I4s", data[at:at + 8])
            body = data[at + 8:at + 8 + length]
            at += 12 + length
            if kind == b"IHDR":
                self.width, self.height, depth, colour = struct.unpack(
                    ">IIBB", body[:10])
                if depth != 8 or colour not in (2, 6):
                    raise RuntimeError("a PNG of another kind")
                self.bytes = 3 if colour == 2 else 4
            elif kind == b"IDAT":
                packed += body
        self.rows = self.unfilter(zlib.decompress(packed))

    def unfilter(self, raw):
        size, step = self.width * self.bytes, self.bytes
        rows, above = [], bytearray(size)
        for y in range(self.height):
            at = y * (size + 1)
            kind, row = raw[at], bytearray(raw[at + 1:at + 1 + size])
            for i in range(size if kind else 0):
                left = row[i - step] if i >= step else 0
                corner = above[i - step] if i >= step else 0
                up = above[i]
                if kind == 1:
                    guess = left
                elif kind == 2:
                    guess = up
                elif kind == 3:
                    guess = (left + up) // 2
                else:
                    base = left + up - corner
                    guess = min((left, up, corner),
                                key=lambda v, b=base: abs(b - v))
                row[i] = (row[i] + guess) & 255
            rows.append(row)
            above = row
        return rows

    def at(self, x, y):
        row, i = self.rows[int(y)], int(x) * self.bytes
        return tuple(row[i:i + 3])
