"""`{% manage_py %}`: how a command is typed, for pages that name one."""

from django import template

from staterail.core.cli import manage_py_elsewhere

register = template.Library()
register.simple_tag(manage_py_elsewhere, name="manage_py")
