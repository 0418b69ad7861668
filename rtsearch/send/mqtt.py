"""Send events and counts to an MQTT broker, where Home Assistant discovers them by itself.

PREFIX/event          {"event": "new" | "update" | "end", ...}; see ``recording.event_record``
PREFIX/count/CLASS    number of objects of the class, kept by the broker
PREFIX/available      online or offline, kept; offline is also the last will
homeassistant/sensor/NAME/CLASS/config    kept: a sensor for each class that has been seen
"""

from __future__ import annotations

import json
import os
import re
import ssl
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from rtsearch.errors import MissingDependencyError, SendError
from rtsearch.recording import json_line, text_bytes
from rtsearch.send.address import Address
from rtsearch.send.events import EventFinder
from rtsearch.send.scene import SentScene
from rtsearch.types import class_name

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

__all__ = ["PASSWORD_VARIABLE", "MqttPeer", "require_mqtt"]

PASSWORD_VARIABLE = "RTSEARCH_MQTT_PASSWORD"
"""Environment variable with the password of a user whose address has none."""

_ANSWER_S = 5.0
_KEEP_ALIVE_S = 30
_MOST_WAITING = 1000  # messages that the broker has not confirmed
_DISCOVERY = "homeassistant"


def require_mqtt() -> None:
    """Raise an error where paho-mqtt is not installed."""
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError:
        raise MissingDependencyError("mqtt:// needs paho-mqtt: pip install 'rtsearch[send]'") from None


class MqttPeer:
    """Broker of MQTT.

    Args:
        address: host, port, user and password of the broker, and the prefix of the topics.
    """

    longest_wait_s = 30.0
    known_after = 1

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Client | None = None
        self._answered = threading.Event()
        self._problem = ""
        self._events = EventFinder()
        self._last: SentScene | None = None
        self._counts: dict[str, int] = {}  # as the broker keeps them, by class
        self._discovered: set[str] = set()  # classes that were announced to this broker
        self._kept: set[str] = set()  # classes that a run before this one has left at the broker
        self._lock = threading.Lock()  # of these

    def open(self) -> None:
        """Connect to the broker and tell that rtsearch is there.

        Raises:
            OSError: the broker cannot be reached, does not answer or refuses.
        """
        self._answered.clear()
        self._problem = ""
        self._counts, self._discovered = {}, set()
        client = self._client = self._new_client()
        client.connect(self._address.host, self._address.port, _KEEP_ALIVE_S)
        client.loop_start()
        if not self._answered.wait(_ANSWER_S):
            raise SendError("the broker does not answer")
        self._require_open()
        client.publish(self._topic("available"), "online", qos=1, retain=True)

    def send(self, scene: SentScene, /) -> None:
        """Publish the events of a scene, and the counts that have changed."""
        self._require_open()
        self._last = scene
        for event in self._events.events(scene):
            self._publish("event", text_bytes(json_line(event)))
        labels = scene.detections.label.tolist()
        self._publish_counts(Counter(class_name(scene.class_names, label) for label in labels))

    def finish(self) -> None:
        """Publish that there are no objects, and that rtsearch is not there any more."""
        if self._last is not None:
            self.send(self._last.without_objects())
        assert self._client is not None
        last = self._client.publish(self._topic("available"), "offline", qos=1, retain=True)
        last.wait_for_publish(_ANSWER_S)

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.connect_timeout = _ANSWER_S
        client.max_queued_messages_set(_MOST_WAITING)
        password = self._address.password or os.environ.get(PASSWORD_VARIABLE, "")
        if self._address.user:
            client.username_pw_set(self._address.user, password or None)
        if self._address.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        client.will_set(self._topic("available"), "offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, more: Properties | None
    ) -> None:
        if reason.is_failure:
            self._problem = f"the broker refuses: {str(reason).lower()}"
        else:
            client.subscribe(self._topic("count/+"))
        self._answered.set()

    def _on_disconnect(
        self, client: Client, data: Any, flags: Any, reason: ReasonCode, more: Properties | None
    ) -> None:
        self._problem = self._problem or f"the broker has gone: {str(reason).lower()}"
        self._answered.set()

    def _on_message(self, client: Client, data: Any, got: MQTTMessage) -> None:
        """Note a class that is counted at the broker since an earlier run."""
        if got.retain and got.payload not in (b"", b"0"):
            with self._lock:
                self._kept.add(got.topic.rpartition("/")[2])

    def _require_open(self) -> None:
        if self._problem:
            raise SendError(self._problem)

    def _publish_counts(self, now: Counter[str]) -> None:
        for name in now.keys() - self._discovered:
            self._discover(name)
        counts: Counter[str] = Counter()
        for name, count in now.items():
            counts[_slug(name)] += count
        with self._lock:
            kept, self._kept = self._kept, set()
        for slug in counts.keys() | self._counts.keys() | kept:
            if self._counts.get(slug) != counts[slug]:
                self._publish(f"count/{slug}", str(counts[slug]).encode(), retain=True)
                self._counts[slug] = counts[slug]

    def _discover(self, name: str) -> None:
        """Announce the count of a class to Home Assistant."""
        node, slug = _slug(self._address.path), _slug(name)
        sensor = {
            "name": name,
            "unique_id": f"rtsearch_{node}_{slug}",
            "state_topic": self._topic(f"count/{slug}"),
            "availability_topic": self._topic("available"),
            "state_class": "measurement",
            "device": {"identifiers": [f"rtsearch_{node}"], "name": self._address.path},
        }
        topic = f"{_DISCOVERY}/sensor/rtsearch_{node}/{slug}/config"
        self._send(topic, json.dumps(sensor).encode(), retain=True)
        self._discovered.add(name)

    def _topic(self, name: str) -> str:
        return f"{self._address.path}/{name}"

    def _publish(self, name: str, payload: bytes, *, retain: bool = False) -> None:
        self._send(self._topic(name), payload, retain=retain)

    def _send(self, topic: str, payload: bytes, *, retain: bool) -> None:
        assert self._client is not None
        done = self._client.publish(topic, payload, qos=1, retain=retain)
        if done.rc:
            raise SendError(f"the broker is too slow: {_MOST_WAITING:,} messages wait for it")


def _slug(name: str) -> str:
    """Return a name in the letters that topics and Home Assistant allow."""
    return re.sub(r"[^a-z0-9_-]", "_", name.lower())
