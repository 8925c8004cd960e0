"""`python -m tools.rpc_docs`: writes docs/rpc.md from the contracts and their comments."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from grpc_tools import protoc

from services.shared.trust.roles import ACCESS

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "rpc.md"

OPERATOR_FILES: Final = ("coordinator", "blocks", "transactions")
INTERNAL_FILES: Final = ("gateway_link", "chain_reader", "broadcast")
SHARED_FILES: Final = ("common",)

INTERNAL_SERVICES: Final = frozenset({"ChainWatchService"})
"""Of the operator files: what broadcasters call."""

# Where descriptor.proto keeps what a path of SourceCodeInfo begins with.
MESSAGES, ENUMS, SERVICES, MEMBERS = 4, 5, 6, 2

INTRODUCTION: Final = """# RPC reference

Made from the contracts in `protos/blocksync/v1` by `make rpc-docs`; what stands here is what stands there. Roles
count where there are certificates or tokens ([security](security.md#roles)). How to call, what errors carry,
deadlines and limits: [the operator API](operator-api.md).

Hashes are 32 bytes, node ids 64, addresses 20. Integers in `bytes` are big-endian without leading zeros; empty is zero.
"""


class Contract(NamedTuple):
    """One .proto file, and its comments by the path of what they stand before."""

    file: FileDescriptorProto
    comments: dict[tuple[int, ...], str]

    def comment(self, *path: int) -> str:
        return self.comments.get(path, "")


def read_contracts() -> dict[str, Contract]:
    """By file name without its ending. Raises RuntimeError where they do not compile."""
    sources = sorted(str(path) for path in (ROOT / "protos").glob("blocksync/v1/*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "contracts.binpb"
        paths = [f"--proto_path={ROOT / 'protos'}", f"--proto_path={well_known}"]
        if protoc.main(["protoc", *paths, "--include_source_info", f"--descriptor_set_out={out}", *sources]):
            raise RuntimeError("the contracts do not compile")
        files = FileDescriptorSet.FromString(out.read_bytes()).file
    return {Path(file.name).stem: Contract(file, _comments(file)) for file in files}


def page(contracts: dict[str, Contract]) -> str:
    parts = [INTRODUCTION]
    parts += _services("The operator API", contracts, OPERATOR_FILES, internal=False)
    parts += _services("Links between the services", contracts, (*OPERATOR_FILES, *INTERNAL_FILES), internal=True)
    parts.append("## Messages and enums\n")
    for name in (*SHARED_FILES, *OPERATOR_FILES, *INTERNAL_FILES):
        contract = contracts[name]
        parts += [_message(contract, index) for index in range(len(contract.file.message_type))]
        parts += [_enum(contract, index) for index in range(len(contract.file.enum_type))]
    return "\n".join(parts)


def uncommented(contracts: dict[str, Contract]) -> list[str]:
    """Services, methods, enums and messages without a comment. A request or response is told by its method's."""
    found = []
    for contract in contracts.values():
        for at, service in enumerate(contract.file.service):
            found += [service.name] * (not contract.comment(SERVICES, at))
            for number, method in enumerate(service.method):
                found += [f"{service.name}.{method.name}"] * (not contract.comment(SERVICES, at, MEMBERS, number))
        for at, message in enumerate(contract.file.message_type):
            told = message.name.endswith(("Request", "Response")) or contract.comment(MESSAGES, at)
            found += [message.name] * (not told)
        for at, enum in enumerate(contract.file.enum_type):
            found += [enum.name] * (not contract.comment(ENUMS, at))
    return found


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if place.leading_comments
    }


def _services(title: str, contracts: dict[str, Contract], names: Sequence[str], *, internal: bool) -> Iterator[str]:
    yield f"## {title}\n"
    for name in names:
        contract = contracts[name]
        for at, service in enumerate(contract.file.service):
            if (service.name in INTERNAL_SERVICES or name in INTERNAL_FILES) is not internal:
                continue
            yield f"### {service.name}\n"
            yield f"`blocksync.v1.{service.name}`. {contract.comment(SERVICES, at)}".rstrip() + "\n"
            for number, method in enumerate(service.method):
                comment = contract.comment(SERVICES, at, MEMBERS, number)
                needs = ACCESS[f"blocksync.v1.{service.name}/{method.name}"].needed
                yield f"- **{method.name}** {_signature(method)}: {comment} Needs {needs}."
            yield ""


def _signature(method: MethodDescriptorProto) -> str:
    asked = ("stream of " if method.client_streaming else "") + _link(method.input_type)
    answered = ("stream of " if method.server_streaming else "") + _link(method.output_type)
    return f"({asked} → {answered})"


def _message(contract: Contract, at: int) -> str:
    message: DescriptorProto = contract.file.message_type[at]
    lines = [f"### {message.name}\n"]
    if comment := contract.comment(MESSAGES, at):
        lines.append(f"{comment}\n")
    if not message.field:
        return "\n".join([*lines, "Empty.\n"])
    lines += ["| Field | Type | |", "|---|---|---|"]
    for number, field in enumerate(message.field):
        comment = contract.comment(MESSAGES, at, MEMBERS, number).replace("|", "\\|")
        lines.append(f"| `{field.name}` | {_type(message, field)} | {comment} |")
    return "\n".join([*lines, ""])


def _enum(contract: Contract, at: int) -> str:
    enum: EnumDescriptorProto = contract.file.enum_type[at]
    lines = [f"### {enum.name}\n"]
    if comment := contract.comment(ENUMS, at):
        lines.append(f"{comment}\n")
    lines += ["| Number | Name | |", "|---|---|---|"]
    for number, value in enumerate(enum.value):
        comment = contract.comment(ENUMS, at, MEMBERS, number).replace("|", "\\|")
        lines.append(f"| {value.number} | `{value.name}` | {comment} |")
    return "\n".join([*lines, ""])


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if field.type_name:
        kind = _link(field.type_name)
    else:
        kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {kind}"
    if field.proto3_optional:
        return f"{kind}, optional"
    if field.HasField("oneof_index"):
        return f"{kind}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return kind


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    return f"[{name}](#{name.lower()})"


def main() -> int:
    contracts = read_contracts()
    PAGE.write_text(page(contracts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
