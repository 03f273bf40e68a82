"""A stand-in for rclpy: topics with messages from memory, and those that are published."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

PACKET, ARRAY = "event_camera_msgs/msg/EventPacket", "dvs_msgs/msg/EventArray"


class Ros:
    """The topics: names, types and messages. `at_end` is called once, after the last message.

    sent  the messages that were published, with their times
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.types: dict[str, str] = {}
        self.waiting: list[tuple[str, bytes]] = []
        self.at_end: Callable[[], None] | None = None
        self.sent: list[tuple[str, float, bytes]] = []
        self.asked: list[Any] = []  # qualities of service
        self.open = 0
        self._heard: dict[str, Callable[[bytes], None]] = {}
        for name, module in self._modules().items():
            monkeypatch.setitem(sys.modules, name, module)

    def say(self, topic: str, kind: str, messages: list[bytes]) -> None:
        """Queue messages of a topic."""
        self.types[topic] = kind
        self.waiting += [(topic, message) for message in messages]

    def _modules(self) -> dict[str, ModuleType]:
        made: dict[str, Any] = {
            name: ModuleType(name)
            for name in ("rclpy", "rclpy.signals", "rclpy.qos", "rclpy.executors",
                         "event_camera_msgs", "event_camera_msgs.msg", "dvs_msgs", "dvs_msgs.msg")
        }  # fmt: skip
        made["rclpy"].Context = SimpleNamespace
        made["rclpy"].init = self._init
        made["rclpy"].shutdown = self._shutdown
        made["rclpy"].create_node = lambda name, context: _Node(self)
        made["rclpy.signals"].SignalHandlerOptions = SimpleNamespace(NO="no handlers")
        made["rclpy.qos"].QoSProfile = SimpleNamespace
        made["rclpy.qos"].HistoryPolicy = SimpleNamespace(KEEP_LAST="keep last")
        made["rclpy.qos"].ReliabilityPolicy = SimpleNamespace(BEST_EFFORT="best effort")
        made["rclpy.executors"].SingleThreadedExecutor = lambda context: _Executor(self)
        made["event_camera_msgs.msg"].EventPacket = PACKET
        made["dvs_msgs.msg"].EventArray = ARRAY
        return made

    def _init(self, *, context: Any, signal_handler_options: str) -> None:
        assert signal_handler_options == "no handlers"  # Ctrl-C stays with dvskit
        self.open += 1

    def _shutdown(self, *, context: Any) -> None:
        self.open -= 1

    def subscribe(self, topic: str, heard: Callable[[bytes], None]) -> None:
        self._heard[topic] = heard

    def spin_once(self, seconds: float) -> None:
        """Give the next message to its subscriber; else wait, and at last call `at_end`."""
        for number, (topic, message) in enumerate(self.waiting):
            if topic in self._heard:
                del self.waiting[number]
                self._heard[topic](message)
                return
        if self._heard and not self.waiting and seconds and self.at_end is not None:
            end, self.at_end = self.at_end, None
            end()
        time.sleep(min(seconds, 0.002))


class _Executor:
    def __init__(self, ros: Ros) -> None:
        self._ros = ros

    def add_node(self, node: Any) -> None:
        pass

    def spin_once(self, timeout_sec: float) -> None:
        self._ros.spin_once(timeout_sec)


class _Node:
    def __init__(self, ros: Ros) -> None:
        self._ros = ros

    def get_topic_names_and_types(self) -> list[tuple[str, list[str]]]:
        return [(topic, [kind]) for topic, kind in self._ros.types.items()]

    def create_subscription(
        self, kind: Any, topic: str, heard: Callable[[bytes], None], quality: Any, *, raw: bool
    ) -> None:
        assert raw
        assert kind == self._ros.types[topic]
        self._ros.asked.append(quality)
        self._ros.subscribe(topic, heard)

    def create_publisher(self, kind: Any, topic: str, quality: Any) -> SimpleNamespace:
        assert kind == PACKET
        self._ros.asked.append(quality)

        def publish(message: bytes) -> None:
            self._ros.sent.append((topic, time.monotonic(), message))

        return SimpleNamespace(publish=publish)

    def destroy_node(self) -> None:
        pass
