"""The settings of actuators: the device, the way to it, and what it can bear."""

from typing import Literal, Self

from pydantic import Field, model_validator

from flowengine import NodeConfig, SinkConfig
from flowengine.fields import (
    Duration,
    ExpressionField,
    TopicTemplate,
    UriTemplate,
    connection,
    fault,
)
from flowengine.nodes.actuator.rules import clamped
from flowengine.nodes.actuator.ways import WAYS


class RateConfig(NodeConfig):
    """At most so many changes of one switch in any stretch of so long."""

    count: int = Field(default=1, ge=1, le=1000, description="Changes at most.")
    per: Duration = Field(description="In any stretch of this length.")


class ConfirmConfig(NodeConfig):
    """Where the device tells the state that it has."""

    topic: TopicTemplate = Field(description="The topic on which the device answers.")
    timeout: Duration = Field(default="5s", description="After this long it has failed.")
    value: ExpressionField = Field(
        default="payload", description="The state in the answer, as payload.state."
    )


class DeviceConfig(SinkConfig):
    """Which device, and by which way."""

    through: Literal["mqtt", "coap"] = Field(description="The way to the device.")
    broker: str | None = connection("mqtt.broker", description="mqtt: the broker.", optional=True)
    topic: TopicTemplate | None = Field(
        default=None, description="mqtt: the topic; `{expression}` holes fill one level."
    )
    peer: str | None = connection("coap.peer", description="coap: the device.", optional=True)
    path: UriTemplate | None = Field(
        default=None, description="coap: the path at the device, as /relay/{key}."
    )
    qos: Literal[0, 1, 2] = Field(default=1, description="mqtt: quality of service.")
    retain: bool = Field(
        default=True, description="mqtt: the broker keeps it, for a device that comes back."
    )
    key: ExpressionField | None = Field(
        default=None, description="Which device it is; the message's key if left out, `''` for one."
    )
    forget: Duration = Field(
        default="30d", description="A device that is not asked for so long is forgotten."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        way = WAYS[self.through]
        for name in way.needs:
            if getattr(self, name) is None:
                raise fault(
                    "missing-field",
                    f'"{name}" is missing: the way "{self.through}" needs it.',
                    f'Give "{name}".',
                )
        for other, its in WAYS.items():
            foreign = self.model_fields_set.intersection(its.fields).difference(way.fields)
            if foreign:
                raise fault(
                    "bad-value",
                    f'"{min(foreign)}" belongs to the way "{other}", not to "{self.through}".',
                    f'Remove it, or set through to "{other}".',
                )
        return self


class SwitchConfig(DeviceConfig):
    """What turns a switch on and off, and what it can bear."""

    on: str = Field(default="ON", description="What is sent to turn it on.")
    off: str = Field(default="OFF", description="What is sent to turn it off.")
    value: ExpressionField | None = Field(
        default=None,
        description="The state that is asked for; meta.active, else the payload, if left out.",
    )
    min_on: Duration = Field(default="0s", description="Once on, it stays on this long at least.")
    min_off: Duration = Field(
        default="0s", description="Once off, it stays off this long at least."
    )
    max_rate: RateConfig | None = Field(
        default=None, description="How often one switch is switched at most."
    )
    safe: Literal["on", "off", "keep"] = Field(
        default="keep", description="The state that it is left in when the flow stops."
    )
    confirm: ConfirmConfig | None = Field(
        default=None, description="Wait for the device's own word, not the broker's (mqtt)."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.confirm is not None and self.through != "mqtt":
            raise fault(
                "bad-value",
                f'"confirm" needs the way "mqtt"; by {self.through} the device\'s answer confirms.',
                "Remove it.",
            )
        if self.on == self.off:
            raise fault("limits-crossed", f'on and off are the same: "{self.on}".', "Change one.")
        return self


class LevelConfig(DeviceConfig):
    """Between which levels, and how fast."""

    value: ExpressionField = Field(default="payload", description="The level that is asked for.")
    min: float | None = Field(default=None, description="No lower level is ever sent.")
    max: float | None = Field(default=None, description="No higher level is ever sent.")
    slew: float | None = Field(
        default=None, gt=0, description="Change in a second at most, in the level's unit."
    )
    step: Duration = Field(default="1s", description="From one step of a slow change to the next.")
    deadband: float = Field(
        default=0.0, ge=0, description="A change that is not larger is not worth sending."
    )
    safe: float | None = Field(
        default=None,
        description="The level that it is left at when the flow stops; left out: as is.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.min, self.max
        if low is not None and high is not None and low > high:
            raise fault(
                "limits-crossed", f"min ({low}) is above max ({high}).", "Swap them, or change one."
            )
        if self.safe is not None and clamped(self.safe, low, high) != self.safe:
            raise fault(
                "limits-crossed",
                f"safe ({self.safe}) is not between min and max.",
                "Set it to a level that may be sent.",
            )
        if self.step == 0:
            raise fault("bad-value", 'step is "0s".', 'Give a time, as "1s".')
        return self
