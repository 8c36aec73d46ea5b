"""What the engine costs on this machine: `manage.py bench`. Each case runs in a process of its own."""
