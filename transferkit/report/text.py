"""Somebody's own text in a figure: any character may be in it, at any length."""

from matplotlib import font_manager, rcParams

# Fonts with the scripts that matplotlib's own lacks; those that the system has are asked after it.
_WIDER_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC", "Malgun Gothic", "Nirmala UI")
NO_GLYPH = "□"


def shown(text: str, *, max_chars: int = 28) -> str:
    """The text on one line, shortened in the middle, without mathematics and without characters no font can draw."""
    asked = [font_manager.FontProperties(family=[family]) for family in families()]
    fonts = [font_manager.get_font(font_manager.findfont(one)) for one in asked]
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    if len(line) > max_chars:
        half = (max_chars - 1) // 2
        line = f"{line[: max_chars - 1 - half].rstrip()}…{line[len(line) - half :].lstrip()}"
    drawn = (
        character if character.isascii() or any(font.get_char_index(ord(character)) for font in fonts) else NO_GLYPH
        for character in line
    )
    return "".join(drawn).replace("$", r"\$") or "(no name)"


def families() -> list[str]:
    """Font families to ask for a character, in this order; the last comes with matplotlib."""
    installed = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(font for font in _WIDER_FONTS if font in installed), "DejaVu Sans"]
