"""A camera's description of itself: its features, and at which registers they are.

Features have the names of GenICam's Standard Features Naming Convention; the description is the XML
that GenApi reads, and a client knows a camera by nothing else. Registers are 4 bytes, the most
significant first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

# Bootstrap registers that hold text: address and length.
TEXTS: Mapping[str, tuple[int, int]] = {
    "DeviceVendorName": (0x0048, 32),
    "DeviceModelName": (0x0068, 32),
    "DeviceVersion": (0x0088, 32),
    "DeviceManufacturerInfo": (0x00A8, 48),
    "DeviceSerialNumber": (0x00D8, 16),
    "DeviceUserID": (0x00E8, 16),
}
PIXEL_FORMATS: Mapping[str, int] = {
    "Mono8": 0x01080001,
    "Mono12": 0x01100005,
    "Mono16": 0x01100007,
}


@dataclass(frozen=True)
class Feature:
    """One feature and its register.

    Attributes:
        category: where a viewer shows it.
        address: of its register.
        kind: ``Integer``, ``Float`` (a single of IEEE 754), ``Enumeration`` or ``Command``.
        start: its value when the camera is switched on.
        low: the least value; None: nothing is said.
        high: the greatest.
        step: of an integer.
        unit: of a number.
        entries: of an enumeration.
        access: ``RW``, ``RO`` or ``WO``.
        still: whether it is write protected while frames are acquired.
    """

    category: str
    address: int
    kind: str = "Integer"
    start: float = 0
    low: float | None = None
    high: float | None = None
    step: int = 1
    unit: str = ""
    entries: Mapping[str, int] = field(default_factory=dict)
    access: str = "RW"
    still: bool = False

    def takes(self, value: float) -> bool:
        """Return whether the register can be set to this."""
        if self.entries:
            return value in self.entries.values()
        # What is not a number is not within them.
        if self.low is not None and not value >= self.low:
            return False
        if self.high is not None and not value <= self.high:
            return False
        return self.kind != "Integer" or (int(value) - int(self.low or 0)) % self.step == 0


def features(width: int, height: int) -> dict[str, Feature]:
    """Return the features of a monochrome camera whose sensor has so many pixels."""
    size = {"category": "ImageFormatControl", "still": True}
    return {
        "SensorWidth": Feature("ImageFormatControl", 0x10000, start=width, access="RO"),
        "SensorHeight": Feature("ImageFormatControl", 0x10004, start=height, access="RO"),
        "Width": Feature(address=0x10100, start=width, low=4, high=width, step=4, **size),  # type: ignore[arg-type]
        "Height": Feature(address=0x10104, start=height, low=4, high=height, step=4, **size),  # type: ignore[arg-type]
        "OffsetX": Feature(address=0x10108, low=0, high=width - 4, step=4, **size),  # type: ignore[arg-type]
        "OffsetY": Feature(address=0x1010C, low=0, high=height - 4, step=4, **size),  # type: ignore[arg-type]
        "PixelFormat": Feature(
            "ImageFormatControl",
            0x10110,
            "Enumeration",
            PIXEL_FORMATS["Mono8"],
            entries=PIXEL_FORMATS,
            still=True,
        ),
        "PayloadSize": Feature("TransportLayerControl", 0x10114, access="RO"),
        "AcquisitionMode": Feature(
            "AcquisitionControl",
            0x10200,
            "Enumeration",
            entries={"Continuous": 0, "SingleFrame": 1},
        ),
        "AcquisitionStart": Feature("AcquisitionControl", 0x10204, "Command", access="WO"),
        "AcquisitionStop": Feature("AcquisitionControl", 0x10208, "Command", access="WO"),
        "AcquisitionFrameRate": Feature(
            "AcquisitionControl", 0x1020C, "Float", 10.0, 0.1, 20.0, unit="Hz"
        ),
        "TriggerSelector": Feature(
            "AcquisitionControl", 0x10210, "Enumeration", entries={"FrameStart": 0}
        ),
        "TriggerMode": Feature(
            "AcquisitionControl", 0x10214, "Enumeration", entries={"Off": 0, "On": 1}
        ),
        "TriggerSource": Feature(
            "AcquisitionControl", 0x10218, "Enumeration", entries={"Software": 0, "Line1": 1}
        ),
        "TriggerSoftware": Feature("AcquisitionControl", 0x1021C, "Command", access="WO"),
        "ExposureTime": Feature(
            "AcquisitionControl", 0x10220, "Float", 5000.0, 20.0, 1e7, unit="us"
        ),
        "Gain": Feature("AnalogControl", 0x10300, "Float", 0.0, 0.0, 24.0, unit="dB"),
    }


def description(model: str, vendor: str, told: Mapping[str, Feature]) -> bytes:
    """Return the XML that says what the camera has."""
    categories: dict[str, list[str]] = {"DeviceControl": list(TEXTS)}
    for name, feature in told.items():
        categories.setdefault(feature.category, []).append(name)
    categories["TransportLayerControl"] += [
        "GevSCPSPacketSize",
        "GevSCPSFireTestPacket",
        "GevSCPD",
    ]
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f"<RegisterDescription ModelName={quoteattr(model)} VendorName={quoteattr(vendor)}"
        ' ToolTip="GigE Vision camera" StandardNameSpace="GEV" SchemaMajorVersion="1"'
        ' SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1" MinorVersion="0"'
        ' SubMinorVersion="0" ProductGuid="6d1c1d26-6a0a-4f8e-8b2f-5b0c9f0f2a01"'
        ' VersionGuid="6d1c1d26-6a0a-4f8e-8b2f-5b0c9f0f2a02"'
        ' xmlns="http://www.genicam.org/GenApi/Version_1_1"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xsi:schemaLocation="http://www.genicam.org/GenApi/Version_1_1'
        ' http://www.genicam.org/GenApi/GenApiSchema_Version_1_1.xsd">',
        _node("Category", "Root", *(f"<pFeature>{name}</pFeature>" for name in categories)),
    ]
    for category, names in categories.items():
        members = (f"<pFeature>{name}</pFeature>" for name in names)
        lines.append(_node("Category", category, *members))
    for name, (address, length) in TEXTS.items():
        lines.append(_node("StringReg", name, *_register(address, "RO", length), space="Standard"))
    for name, feature in told.items():
        lines += _feature(name, feature)
    lines += _packet_features()
    lines += ['<Port Name="Device" NameSpace="Standard"></Port>', "</RegisterDescription>"]
    return "\n".join(lines).encode()


def _feature(name: str, feature: Feature) -> list[str]:
    register = f"{name}Reg"
    says = [
        _node("EnumEntry", entry, f"<Value>{value}</Value>", space="Standard")
        for entry, value in feature.entries.items()
    ]
    says.append(f"<pValue>{register}</pValue>")
    if feature.kind == "Command":
        says.append("<CommandValue>1</CommandValue>")
    if feature.low is not None:
        says.append(f"<Min>{feature.low:g}</Min>")
    if feature.high is not None:
        says.append(f"<Max>{feature.high:g}</Max>")
    if feature.step != 1:
        says.append(f"<Inc>{feature.step}</Inc>")
    if feature.unit:
        says.append(f"<Unit>{feature.unit}</Unit>")
    held = _register(feature.address, feature.access, 4)
    if feature.kind == "Float":
        return [
            _node("Float", name, *says, space="Standard"),
            _node("FloatReg", register, *held, "<Endianess>BigEndian</Endianess>"),
        ]
    return [
        _node(feature.kind, name, *says, space="Standard"),
        _node(
            "IntReg",
            register,
            *held,
            "<Cachable>NoCache</Cachable>",
            "<Sign>Unsigned</Sign>",
            "<Endianess>BigEndian</Endianess>",
        ),
    ]


def _packet_features() -> list[str]:
    """Return what says how frames travel; these registers are GigE Vision's own."""
    low_half = ("<LSB>31</LSB>", "<MSB>16</MSB>", "<Sign>Unsigned</Sign>")
    return [
        _node(
            "Integer",
            "GevSCPSPacketSize",
            "<pValue>GevSCPSPacketSizeReg</pValue>",
            f"<Min>{SMALLEST_PACKET}</Min>",
            f"<Max>{LARGEST_PACKET}</Max>",
            "<Inc>4</Inc>",
            space="Standard",
        ),
        _node(
            "MaskedIntReg",
            "GevSCPSPacketSizeReg",
            *_register(0x0D04, "RW", 4),
            "<Cachable>NoCache</Cachable>",
            *low_half,
            "<Endianess>BigEndian</Endianess>",
        ),
        _node(
            "Boolean",
            "GevSCPSFireTestPacket",
            "<pValue>GevSCPSFireTestPacketReg</pValue>",
            "<OnValue>1</OnValue>",
            "<OffValue>0</OffValue>",
            space="Standard",
        ),
        _node(
            "MaskedIntReg",
            "GevSCPSFireTestPacketReg",
            *_register(0x0D04, "RW", 4),
            "<Cachable>NoCache</Cachable>",
            "<Bit>0</Bit>",
            "<Sign>Unsigned</Sign>",
            "<Endianess>BigEndian</Endianess>",
        ),
        _node("Integer", "GevSCPD", "<pValue>GevSCPDReg</pValue>", space="Standard"),
        _node(
            "IntReg",
            "GevSCPDReg",
            *_register(0x0D08, "RW", 4),
            "<Sign>Unsigned</Sign>",
            "<Endianess>BigEndian</Endianess>",
        ),
    ]


# What a datagram of the stream may have with its IP header, bytes.
SMALLEST_PACKET, LARGEST_PACKET = 576, 9000


def _register(address: int, access: str, length: int) -> tuple[str, ...]:
    return (
        f"<Address>{address:#x}</Address>",
        f"<Length>{length}</Length>",
        f"<AccessMode>{access}</AccessMode>",
        "<pPort>Device</pPort>",
    )


def _node(kind: str, name: str, *says: str, space: str = "Custom") -> str:
    return f'<{kind} Name={quoteattr(name)} NameSpace="{space}">{"".join(says)}</{kind}>'
