"""Annotations in xml in the encodings of labelling tools."""

import xml.etree.ElementTree as ElementTree

import pytest
from dataset_files import OBJECT, make_voc

from dense_ssl.data.sources.entries import check_entry
from dense_ssl.data.sources.xml_files import parse_xml

TEXT = "<annotation><object><name>{}</name></object></annotation>"


@pytest.mark.parametrize("encoding, name", [
    ("UTF-8", "猫"), ("utf-16", "猫"), ("ISO-8859-1", "Käfer"), ("GBK", "猫"), ("gb2312", "猫"),
    ("Shift_JIS", "猫"), ("Big5", "貓"), ("euc-kr", "고양이"), ("windows-1251", "кошка"),
])  # fmt: skip
def test_encodings(tmp_path, encoding, name):
    path = tmp_path / "a.xml"
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    path.write_bytes((head + TEXT.format(name)).encode(encoding))
    assert parse_xml(path).findtext("object/name") == name
    assert parse_xml(str(path)).findtext("object/name") == name


@pytest.mark.parametrize("encoding, content", [("nonsense", b"cat"), ("GBK", b"\xff\xff")])
def test_what_cannot_be_decoded_names_the_file(tmp_path, restore_catalogs, encoding, content):
    root = make_voc(tmp_path, {"1": [OBJECT]})
    path = root / "Annotations/1.xml"
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'.encode()
    path.write_bytes(head + TEXT.encode().replace(b"{}", content))
    with pytest.raises(ValueError, match=f"1.xml.*{encoding}.*Save it as UTF-8"):
        parse_xml(path)
    assert encoding in str(check_entry(f"voc:{root}:train").labels.error)


def test_what_is_no_xml(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(ElementTree.ParseError):
        parse_xml(tmp_path / "a.xml")
