"""Each configuration key is declared once; a part with another default overrides the inherited field."""

from dataclasses import fields

from omarl.commands import COMMANDS, keys_of
from omarl.configuration.parts import KINDS_WITH_KEYS, Declaration, type_of
from omarl.registry import REGISTRY, resolve


def config_classes():
    registered = [resolve(kind, name) for kind in KINDS_WITH_KEYS for name in REGISTRY[kind]]
    return {*map(keys_of, COMMANDS), *(part.Config for part in registered if hasattr(part, "Config"))}


def declaring_classes():
    """Each key with the dataclasses that declare it in their own body."""
    found = {}
    for config in config_classes():
        for part in config.__mro__:
            for name in set(vars(part).get("__annotations__", {})) & {spec.name for spec in fields(config)}:
                found.setdefault(name, set()).add(part)
    return found


def test_a_key_is_declared_by_one_class_and_overridden_only_by_its_heirs():
    for name, parts in declaring_classes().items():
        originals = [part for part in parts if all(issubclass(other, part) for other in parts)]
        assert len(originals) == 1, f"{name} is declared by {', '.join(part.__name__ for part in parts)}"


def test_an_override_keeps_type_and_range():
    for name, parts in declaring_classes().items():
        specs = [(part, spec) for part in parts for spec in fields(part) if spec.name == name]
        kinds = {(type_of(Declaration(*found, "")), found[1].metadata["component"]) for found in specs}
        assert len(kinds) == 1, f"{name}: {kinds}"
