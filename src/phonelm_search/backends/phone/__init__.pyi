from .assignment import assign_phones as assign_phones, connected_phones as connected_phones
from .bundle import build_android as build_android, fetch_wheel as fetch_wheel, glibc_bundle as glibc_bundle
from .doctor import examine as examine
from .phone import Phone as Phone
