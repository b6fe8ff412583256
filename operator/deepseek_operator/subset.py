"""Whether an observed object already holds all of a desired one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"^([0-9.]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_SCALES: Mapping[str, Decimal] = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}


def is_subset(desired: Any, observed: Any, *, name: str = "") -> bool:
    """True when applying ``desired`` over ``observed`` would change nothing.

    Fields that only ``observed`` has are someone else's, or the server's defaults. So are items of
    lists that it keys; other lists must be equal. Empty and absent are the same.
    """
    if isinstance(desired, Mapping):
        return _is_mapping_subset(desired, observed, name)
    if isinstance(desired, list | tuple):
        if not isinstance(observed, list | tuple):
            return not desired and observed is None
        return _is_list_subset(desired, observed, name)
    if name in {"quantity", "sizeLimit"}:
        return bool(_quantity(desired) == _quantity(observed))
    if observed is None:
        # The API leaves out what is false, zero or empty.
        return bool(not desired)
    return bool(desired == observed)


def _is_mapping_subset(desired: Mapping[str, Any], observed: Any, name: str) -> bool:
    if not isinstance(observed, Mapping):
        return not desired and observed is None
    is_quantities = name in {"requests", "limits"}
    return all(
        is_subset(value, observed.get(key), name="quantity" if is_quantities else key) for key, value in desired.items()
    )


_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "env": (("name",),),
    "volumes": (("name",),),
    "volumeMounts": (("mountPath",),),
    "imagePullSecrets": (("name",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "ownerReferences": (("uid",),),
    # Of containers and of Services; those of a NetworkPolicy are no keyed list.
    "ports": (("containerPort", "protocol"), ("targetPort", "port", "protocol")),
}
"""Lists that the API keys, by field, and what it tells their items apart by."""


def _is_list_subset(desired: Sequence[Any], observed: Sequence[Any], name: str) -> bool:
    keys = next((keys for keys in _KEYS.get(name, ()) if desired and all(_has(item, keys) for item in desired)), None)
    if keys is None:
        return len(desired) == len(observed) and all(
            is_subset(one, other) for one, other in zip(desired, observed, strict=True)
        )
    by_key = {tuple(item[key] for key in keys): item for item in observed if _has(item, keys)}
    return all(is_subset(item, by_key.get(tuple(item[key] for key in keys))) for item in desired)


def _has(item: Any, keys: tuple[str, ...]) -> bool:
    return isinstance(item, Mapping) and all(key in item for key in keys)


def _quantity(value: Any) -> Any:
    found = _QUANTITY.match(str(value))
    return Decimal(found[1]) * _SCALES.get(found[2] or "", Decimal(1)) if found else value
