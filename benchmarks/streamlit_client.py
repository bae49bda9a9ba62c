"""A client of a Streamlit app that does over the websocket what the app's page in the browser does, without drawing it.

Written against streamlit 1.67: protobuf BackMsg up, ForwardMsg down, messages that are kept and referred to by their
hash, fragments that run by themselves, and the JSON state and triggers of v2 components.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

# As the page names the widget in which all triggers of a component are gathered.
_TRIGGERS = "$$STREAMLIT_INTERNAL_KEY_{}__events"
# Elements that stand for something that is yet to come.
_EMPTY = {"empty", "skeleton", "spinner", "progress"}


class Gone(Exception):
    """The app has closed the connection."""


@dataclass
class Run:
    """One run of the script or of a fragment, in seconds of `time.perf_counter`."""

    sent: float
    first: float | None = None
    """When the first element came that shows something."""
    finished: float | None = None
    messages: int = 0
    size: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass
class Component:
    """A v2 component as it stands in the page: its id, its data, and what it told the app."""

    id: str
    data: Any
    at: float
    state: dict[str, Any] = field(default_factory=dict)


class Session:
    """One window of a browser. Use as `async with Session(...) as session`."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        *,
        page: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A window at `url` (http://host:port), on the page of that path, with `headers` as a proxy would add them."""
        self._http, self._url, self._headers = http, url.rstrip("/"), dict(headers or {})
        self.page, self.query = page, urlencode(dict(query or {}))
        self.components: dict[str, Component] = {}
        self.pages: dict[str, str] = {}
        """The hash of each page of the navigation by its path."""
        self.elements: dict[tuple[int, ...], ForwardMsg] = {}
        self.run = Run(time.perf_counter())
        self._page_hash = ""
        self._shown: set[str] = set()
        self._kept: dict[str, tuple[ForwardMsg, int]] = {}
        self._runs = 0
        self._most_age = 2
        self._states: dict[str, WidgetState] = {}
        self._running = False
        self._pending = 0
        self._changed = asyncio.Condition()
        self._repeating: dict[str, asyncio.Task[None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._closed = False

    async def __aenter__(self) -> "Session":
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Opens the connection and asks for the page. Raises Gone where nothing answers."""
        try:
            self._socket = await self._http.ws_connect(
                f"{self._url}/_stcore/stream".replace("http", "ws", 1),
                protocols=("streamlit", "PLACEHOLDER_AUTH_TOKEN"),
                headers=self._headers,
                max_msg_size=0,
            )
        except (aiohttp.ClientError, OSError) as e:
            raise Gone(str(e)) from None
        self._reader = asyncio.create_task(self._read(self._socket))
        await self.rerun()

    async def close(self) -> None:
        """Closes the window."""
        self._closed = True
        self._stop_repeating()
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError, Gone):
                await self._reader

    # -- up

    async def rerun(self, *, fragment: str = "", repeated: bool = False, once: WidgetState | None = None) -> float:
        """Asks for a run with the widgets as they stand, `once` for this one time; when it was sent."""
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string = self.query
        asked.page_script_hash = self._page_hash
        asked.page_name = "" if self._page_hash else self.page
        asked.fragment_id = fragment
        asked.is_auto_rerun = repeated
        asked.widget_states.widgets.extend(self._states.values())
        if once is not None:
            asked.widget_states.widgets.append(once)
        asked.cached_message_hashes.extend(self._kept)
        asked.context_info.timezone = "UTC"
        asked.context_info.locale = "en-US"
        asked.context_info.url = f"{self._url}/{self.page}"
        sent = time.perf_counter()
        if not repeated:
            self.run = Run(sent)
            self._pending += 1
        await self._send(message)
        return sent

    async def _send(self, message: BackMsg) -> None:
        if self._socket is None or self._closed:
            raise Gone("closed")
        try:
            await self._socket.send_bytes(message.SerializeToString())
        except (aiohttp.ClientError, OSError) as e:
            raise Gone(str(e)) from None

    async def go(self, page: str, query: Mapping[str, str] | None = None) -> Run:
        """Clicks on a page of the navigation, by its path, and waits until it stands."""
        self._page_hash, self.page, self.query = self.pages[page], page, urlencode(dict(query or {}))
        self.components.clear()
        await self.rerun()
        return await self.settled()

    async def set_state(self, component: Component, **state: Any) -> float:
        """What `setStateValue` of a component does."""
        component.state |= state
        value = WidgetState(id=component.id, json_value=json.dumps(component.state))
        self._states[component.id] = value
        return await self.rerun()

    async def trigger(self, component: Component, **values: Any) -> float:
        """What `setTriggerValue` of a component does."""
        events = [{"event": event, "value": value} for event, value in values.items()]
        return await self.rerun(
            once=WidgetState(id=_TRIGGERS.format(component.id), json_trigger_value=json.dumps(events))
        )

    # -- down

    async def settled(self, seconds: float = 120.0) -> Run:
        """Waits until nothing runs that was asked for, and returns the last run."""
        await self._wait(lambda: not self._running and not self._pending, seconds)
        return self.run

    async def component(self, suits: Callable[[Component], bool] = lambda _: True, seconds: float = 120.0) -> Component:
        """Waits for a component that suits, and returns it."""
        found: list[Component] = []

        def there() -> bool:
            found[:] = [c for c in self.components.values() if suits(c)]
            return bool(found)

        await self._wait(there, seconds)
        return found[0]

    async def until(self, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        """Waits until something holds that a message changes. Raises TimeoutError, and Gone."""
        await self._wait(holds, seconds)

    def texts(self) -> list[str]:
        """What the page's texts, headings and messages say now."""
        found = []
        for message in self.elements.values():
            element = message.delta.new_element
            kind = element.WhichOneof("type")
            if kind is not None and hasattr(body := getattr(element, kind), "body"):
                found.append(f"{kind}: {body.body}")
        return found

    async def _wait(self, holds: Callable[[], bool], seconds: float) -> None:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: self._closed or holds())
        if not holds():
            raise Gone("the app has closed the connection")

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.BINARY:
                    at = time.perf_counter()
                    message = ForwardMsg()
                    message.ParseFromString(frame.data)
                    async with self._changed:
                        self._take(message, len(frame.data), at)
                        self._changed.notify_all()
        finally:
            self._closed = True
            self._stop_repeating()
            async with self._changed:
                self._changed.notify_all()

    def _take(self, message: ForwardMsg, size: int, at: float) -> None:
        kind = message.WhichOneof("type")
        self.run.messages += 1
        self.run.size += size
        if kind == "ref_hash":
            kept = self._kept[message.ref_hash][0]
            whole = ForwardMsg()
            whole.CopyFrom(kept)
            whole.metadata.CopyFrom(message.metadata)
            self._kept[message.ref_hash] = (kept, self._runs)
            message, kind = whole, "delta"
        elif message.metadata.cacheable:
            self._kept[message.hash] = (message, self._runs)
        if kind == "new_session":
            self._begin(message)
        elif kind == "delta":
            self._delta(message, at)
        elif kind == "script_finished":
            self._finish(message, at)
        elif kind == "navigation":
            self.pages = {p.url_pathname: p.page_script_hash for p in message.navigation.app_pages}
            self._page_hash = message.navigation.page_script_hash or self._page_hash
        elif kind == "page_info_changed":
            self.query = urlencode(parse_qsl(message.page_info_changed.query_string.lstrip("?")))
        elif kind == "auto_rerun":
            self._repeat(message.auto_rerun.fragment_id, message.auto_rerun.interval)
        elif kind == "stop_auto_rerun":
            for task in self._repeating.values():
                task.cancel()
        elif kind == "session_event" and message.session_event.WhichOneof("type") == "script_compilation_exception":
            self.run.errors.append(message.session_event.script_compilation_exception.message)

    def _begin(self, message: ForwardMsg) -> None:
        session = message.new_session
        self._most_age = session.config.max_cached_message_age
        self._running = True
        if not message.metadata.run.fragment_ids:
            self._page_hash = session.page_script_hash or self._page_hash
            self._stop_repeating()
            self.elements.clear()
            self._shown.clear()

    def _delta(self, message: ForwardMsg, at: float) -> None:
        delta = message.delta
        if delta.WhichOneof("type") != "new_element":
            return
        self.elements[tuple(message.metadata.delta_path)] = message
        element = delta.new_element
        kind = element.WhichOneof("type")
        # The sidebar says who one is, on every page alike.
        if self.run.first is None and kind not in _EMPTY and message.metadata.delta_path[:1] == [0]:
            self.run.first = at
        if kind == "exception":
            self.run.errors.append(f"{element.exception.type}: {element.exception.message}")
        if kind == "bidi_component":
            made = element.bidi_component
            which = made.WhichOneof("data")
            data = json.loads(made.json if which == "json" else made.mixed.json) if which in ("json", "mixed") else None
            self._shown.add(made.id)
            before = self.components.get(made.id)
            self.components[made.id] = Component(made.id, data, at, before.state if before else {})

    def _finish(self, message: ForwardMsg, at: float) -> None:
        self._running = False
        if message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            return
        if message.script_finished != ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY:
            # Requests that came while a run went on are taken together by the next one.
            self._pending = 0
            self._runs += 1
            self.components = {ident: c for ident, c in self.components.items() if ident in self._shown}
            self._kept = {h: k for h, k in self._kept.items() if self._runs - k[1] <= self._most_age}
        self.run.finished = at

    def _repeat(self, fragment: str, interval: float) -> None:
        async def ask() -> None:
            with suppress(Gone):
                while True:
                    await asyncio.sleep(interval)
                    await self.rerun(fragment=fragment, repeated=True)

        if fragment in self._repeating:
            self._repeating[fragment].cancel()
        self._repeating[fragment] = asyncio.create_task(ask())

    def _stop_repeating(self) -> None:
        for task in self._repeating.values():
            task.cancel()
        self._repeating.clear()
