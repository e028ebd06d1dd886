"""The corpus `files:`: texts that are not plain UTF-8 are read right, or refused with advice that works."""

from __future__ import annotations

import gzip
import logging
import re
from pathlib import Path

import pytest

from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, CorpusSpec
from charrnn.text.plugins import Corpora

FRENCH = "L'été dernier, à Noël, le garçon a mangé.\n"
RUSSIAN = "Вечером начался дождь, и дети остались дома.\n"
JAPANESE = "夕方から雨が降り始めた。\n"
PLAIN = b"plain words here\n" * 130_000  # more than is looked at to recognise an encoding


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpora().find(CorpusSpec.parse("files:any"))


@pytest.fixture
def said(caplog) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def read(corpus: Corpus, spec: object) -> list[str]:
    return ["".join(document) for document in corpus.documents(CorpusSpec.parse(f"files:{spec}"))]


def error(corpus: Corpus, spec: object) -> str:
    with pytest.raises(CorpusError) as caught:
        read(corpus, spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


DAMAGED = {
    "cut before the first letter": ((FRENCH * 9).encode()[3:], 0, 1),
    "cut in its only letter": ("était tard le soir.\n".encode()[1:], 0, 1),
    "cut in Cyrillic": ((RUSSIAN * 9).encode()[1:], 0, 1),
    "cut in Japanese, two bytes left": ((JAPANESE * 9).encode()[1:], 0, 1),
    "one byte in the middle": ((FRENCH * 9).encode() + b"caf\xe9 noir\n" + FRENCH.encode(), 435, 10),
    "one byte after two megabytes": (FRENCH.encode() * 50_000 + b"caf\xe9 noir\n", 2_400_003, 50_001),
    "one byte after carriage returns": (b"\xc3\xa9\ra\r\nb\r\xffc\n", 8, 4),
    "cut at its end": ((FRENCH * 9).encode() + b"caf\xc3", 435, 10),
    "half of it in Latin-1": ((FRENCH * 9).encode() + (FRENCH * 9).encode("latin-1"), 434, 10),
    "surrogates of UTF-16": ("naïve café".encode() + b"\xed\xa0\xbd\xed\xb8\x80\n", 12, 1),
    "a zero in two bytes": ("café ".encode() + b"\xc0\x80 x\n", 6, 1),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_utf8_but_for_some_bytes_is_utf8_damaged_at_a_line(corpus, tmp_path, name, caplog):
    content, byte, line = DAMAGED[name]
    path = write(tmp_path / "a.txt", content)
    for options in ("", "?encoding=utf-8"):
        message = error(corpus, f"{path}{options}")
        assert f"a.txt: byte {byte} is not utf-8: line {line} holds b'" in message
        assert "?errors=replace" in message
    expected = content.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    assert read(corpus, f"{path}?errors=replace") == [expected]
    assert "stand as U+FFFD" in caplog.text
    assert read(corpus, f"{path}?errors=ignore") == [expected.replace("\ufffd", "")]
    assert "are left out" in caplog.text


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_file_of_a_folder_is_named_and_ends_nothing(corpus, tmp_path, caplog, pack):
    suffix = ".gz" if pack is gzip.compress else ""
    write(tmp_path / "a.txt", FRENCH)
    write(tmp_path / f"late.txt{suffix}", pack(FRENCH.encode() * 200_000 + b"\xe9\n"))
    write(tmp_path / "nul.txt", FRENCH.encode() * 50_000 + b"\0")
    write(tmp_path / "z.txt", RUSSIAN)
    assert read(corpus, tmp_path) == [FRENCH, RUSSIAN]
    assert "late.txt" in caplog.text
    assert "line 200001" in caplog.text
    assert "nul.txt: is not text: it holds NUL bytes" in caplog.text


def test_a_long_text_of_a_folder_is_whole(corpus, tmp_path):
    write(tmp_path / "a.txt", FRENCH.replace("\n", "\r\n") * 200_000)
    write(tmp_path / "b.txt", (FRENCH * 200_000)[:-1].encode("utf-16"))
    assert read(corpus, tmp_path) == [FRENCH * 200_000, (FRENCH * 200_000)[:-1]]


def test_letters_that_begin_after_a_megabyte_are_named_with_their_encoding(corpus, tmp_path, caplog):
    path = write(tmp_path / "a.txt", PLAIN + (FRENCH * 500).encode("latin-1"))
    message = error(corpus, path)
    assert "line 130001" in message
    flag = re.search(r"\?encoding=\w+", message)
    assert flag
    assert read(corpus, f"{path}{flag[0]}") == [PLAIN.decode() + FRENCH * 500]
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "encoding", "word"),
    [
        (FRENCH.encode(), "latin-1", "it is valid UTF-8"),
        (PLAIN + FRENCH.encode(), "latin-1", "it is valid UTF-8"),
        (FRENCH.encode(), "mac_roman", "it is valid UTF-8"),
        (FRENCH.encode(), "gbk", "it is valid UTF-8"),
        (b"plain words!\n\n", "utf-16-le", "it is valid UTF-8"),
        (b"plain words\n", "cp037", "it is valid UTF-8"),
        ((FRENCH * 9).encode()[3:], "latin-1", "most of its letters beyond ASCII are UTF-8"),
        ("“Yes”, it’s the café.\n".encode("cp1252"), "latin-1", "control characters (U+0080 to U+009F)"),
        (PLAIN + "“Yes”, it’s the café.\n".encode("cp1252"), "latin-1", "control characters (U+0080 to U+009F)"),
        ((FRENCH * 9).encode("cp1252"), "cp1251", f"{FRENCH.strip()!r} as cp1252".replace('"', "'")),
        ((FRENCH * 9).encode("cp1252"), "cp437", "add ?encoding=cp1252"),
        ((RUSSIAN * 9).encode("koi8-r"), "latin-1", f"{RUSSIAN.strip()!r} as koi8_r"),
        ((FRENCH * 9).encode("utf-16-le"), "latin-1", "NUL characters"),
        (FRENCH.encode().decode("latin-1").encode() * 9, "utf-8", "once read in another encoding"),
    ],
)
def test_a_wrong_looking_result_of_an_encoding_asked_for_is_said(corpus, tmp_path, caplog, content, encoding, word):
    path = write(tmp_path / "a.txt", content)
    assert read(corpus, f"{path}?encoding={encoding}") == [content.decode(encoding)]
    assert word in caplog.text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "latin-1"),
        (FRENCH, "mac_roman"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "utf-16-le"),
        ("plain\n", "ascii"),
        (JAPANESE, "iso2022_jp"),
        ("¿Qué? ¡Sí! £5 ½\n", "cp850"),
    ],
)
def test_a_right_encoding_is_read_without_a_word(corpus, tmp_path, said, text, encoding):
    assert read(corpus, f"{write(tmp_path / 'a.txt', (text * 9).encode(encoding))}?encoding={encoding}") == [text * 9]
    assert not said.records


def test_an_encoding_that_fails_on_utf8_is_told_so(corpus, tmp_path):
    path = write(tmp_path / "a.txt", FRENCH)
    assert error(corpus, f"{path}?encoding=ascii").endswith("it is UTF-8: leave out ?encoding=ascii")


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (JAPANESE * 9, "iso2022_jp"),
        ("저녁에 비가 내리기 시작했다\n" * 9, "iso2022_kr"),
        ("晚上开始下雨\n" * 9, "hz"),
        (FRENCH * 9, "utf-7"),
        (RUSSIAN, "utf-7"),
        ("Der Mann war müde.\n", "utf-7"),
    ],
)
def test_escapes_of_seven_bits_are_recognised_and_said(corpus, tmp_path, caplog, text, codec):
    path = write(tmp_path / "a.txt", text.encode(codec))
    assert read(corpus, path) == [text]
    assert f"a.txt: read as {codec}" in caplog.text
    assert read(corpus, f"{path}?encoding=utf-8") == [text.encode(codec).decode("ascii")]


def test_escapes_far_into_a_text_and_unknown_ones_are_refused(corpus, tmp_path):
    late = write(tmp_path / "late.txt", PLAIN + JAPANESE.encode("iso2022_jp"))
    message = error(corpus, late)
    flag = re.search(r"\?encoding=iso\w+", message)
    assert flag
    assert read(corpus, f"{late}{flag[0]}") == [PLAIN.decode() + JAPANESE]
    chinese = write(tmp_path / "cn.txt", b"\x1b$)A\x0eabcd\x0f text\n")
    assert "ISO-2022-CN" in error(corpus, chinese)
    assert read(corpus, f"{chinese}?encoding=utf-8")


def test_what_only_looks_like_escapes_is_text(corpus, tmp_path, said):
    text = "a+b-c; x+foo-bar; i++; C++-x ~{a} ~~ 1+1=2 +AbcD- \x1b[31mred\x1b[0m\n" * 5
    assert read(corpus, write(tmp_path / "a.txt", text)) == [text]
    assert not said.records


TEXTS = {
    "Turkish": ("Dün akşam yağmur başladı.\n", "cp1254 iso8859_9 cp857 mac_turkish"),
    "Hungarian": ("Az őszi eső után a kertben nőtt a fű, és a gyűrű eltűnt.\n", "cp1250 iso8859_2 cp852"),
    "Czech": ("Příliš žluťoučký kůň úpěl ďábelské ódy, řekl starý muž.\n", "cp1250 iso8859_2 cp852 mac_latin2"),
    "Polish": ("Wieczorem padał deszcz, więc zostaliśmy w domu i czytaliśmy książki.\n", "cp1250 iso8859_2 cp852"),
    "Croatian": ("Jučer je kiša počela padati, a šuma je bila čudno tiha i žuta.\n", "cp1250 iso8859_2 cp852"),
    "Romanian": ("Seara a început să plouă şi copiii s-au dus acasă fără cuvinte.\n", "cp1250 iso8859_2 cp852"),
    "Slovak": ("Keď prišiel večer, dážď prestal a ľudia vyšli na námestie.\n", "cp1250 iso8859_2 cp852"),
    "French": (FRENCH, "cp1252 mac_roman cp437 cp850 iso8859_15"),
    "German": ("Der alte Mann saß müde vor der Tür, schön war es früher.\n", "cp1252 mac_roman cp437 cp850"),
    "Spanish": ("¿Dónde está el niño? ¡Mañana será otro día! La canción.\n", "cp1252 mac_roman cp850 cp437"),
    "Swedish": ("På kvällen började det regna och hon gick över ängen.\n", "cp1252 mac_roman cp850"),
    "Icelandic": ("Það var kvöld og rigningin byrjaði. Börnin fóru heim.\n", "cp1252"),
    "English quotes": ("It’s the “best” of times—don’t you think? Law’s “long arm”.\n", "cp1252 mac_roman"),
    "Lithuanian": ("Vakare pradėjo lyti, todėl vaikai liko namuose ir skaitė knygą.\n", "cp1257"),
    "Russian": (RUSSIAN, "cp1251 koi8_r cp866 iso8859_5 mac_cyrillic"),
    "Ukrainian": ("Увечері почався дощ, і діти залишилися вдома, її брат читав.\n", "cp1251 koi8_u"),
    "Greek": ("Το βράδυ άρχισε να βρέχει και τα παιδιά έμειναν στο σπίτι.\n", "cp1253 iso8859_7 cp737"),
    "Hebrew": ("בערב התחיל לרדת גשם והילדים נשארו בבית.\n", "cp1255 iso8859_8"),
    "Arabic": ("في المساء بدأ المطر وبقي الأطفال في البيت.\n", "cp1256"),
    "Thai": ("ตอนเย็นฝนเริ่มตกและเด็กๆอยู่บ้านอ่านหนังสือ\n", "cp874"),
    "Chinese": ("晚上开始下雨，孩子们留在家里看书。\n", "gb18030"),
    "Chinese, traditional": ("晚上開始下雨，孩子們留在家裡看書。\n", "big5"),
    "Japanese": ("夕方から雨が降り始めたので、子供たちは家で本を読んでいた。\n", "cp932 euc_jp"),
    "Korean": ("저녁에 비가 내리기 시작해서 아이들은 집에서 책을 읽었다.\n", "cp949 johab"),
}


@pytest.mark.parametrize("repeat", [1, 100])
@pytest.mark.parametrize(
    ("text", "codec"), [(text, codec) for text, codecs in TEXTS.values() for codec in codecs.split()]
)
def test_code_pages_are_read_right_or_said_to_be_unsure(corpus, tmp_path, caplog, text, codec, repeat):
    path = write(tmp_path / "a.txt", (text * repeat).encode(codec))
    found = read(corpus, path)
    assert [record.levelname for record in caplog.records if "a.txt: not UTF-8" in record.message] == ["WARNING"]
    if found != [text * repeat]:
        assert "not surely known" in caplog.text
        assert f"?encoding={codec}" in caplog.text
        assert text[:40].strip() in caplog.text
    flags = re.findall(r"\?encoding=(\w+)", caplog.text)
    assert any(read(corpus, f"{path}?encoding={flag}") == [text * repeat] for flag in flags if flag != "NAME") or (
        found == [text * repeat]
    )


@pytest.mark.parametrize("language", ["Turkish", "Czech", "Russian", "French", "German", "Japanese"])
def test_a_sure_guess_has_quiet_words(corpus, tmp_path, caplog, language):
    text, codecs = TEXTS[language]
    assert read(corpus, write(tmp_path / "a.txt", (text * 100).encode(codecs.split()[0]))) == [text * 100]
    assert "not surely" not in caplog.text


def test_close_readings_are_shown_with_a_line_and_a_flag_each(corpus, tmp_path, caplog):
    read(corpus, write(tmp_path / "a.txt", b"Il dit que c'est l\xe0.\n"))
    assert "not surely known: 'Il dit que c'est là.' as cp1252 or 'Il dit que c'est l" in caplog.text
    assert "add ?encoding=cp1252 or ?encoding=" in caplog.text


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["Hi\n", FRENCH * 20, RUSSIAN * 20, JAPANESE * 20, JAPANESE.strip() * 50])
def test_wide_encodings_without_a_mark_are_recognised(corpus, tmp_path, caplog, text, codec):
    assert read(corpus, write(tmp_path / "a.txt", text.encode(codec))) == [text]
    assert f"a.txt: read as {codec}, though it has no byte order mark" in caplog.text


def test_wide_encodings_cut_in_a_letter_say_so(corpus, tmp_path):
    path = write(tmp_path / "a.txt", (FRENCH * 20).encode("utf-16-le") + b"a")
    assert "byte 1680 is not utf-16-le: line 21 holds b'a'" in error(corpus, path)
    assert read(corpus, f"{path}?errors=ignore") == [FRENCH * 20]


@pytest.mark.parametrize("content", [FRENCH.encode() * 50_000 + b"a\0b\n", b"some words\0\0 and more\n" * 9])
def test_nul_bytes_are_refused_wherever_they_are(corpus, tmp_path, caplog, content):
    path = write(tmp_path / "a.txt", content)
    assert "it holds NUL bytes" in error(corpus, path)
    assert "?encoding=utf-8" in error(corpus, path)
    assert read(corpus, f"{path}?encoding=utf-8") == [content.decode()]
    assert "NUL characters" in caplog.text
