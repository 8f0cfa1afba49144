// What a page of stock sends: movements that one ticks off, and photos of shelves. Both go to the API by its own rules; where it
// wants a key, one is asked for, and kept for as long as this tab is open.
(() => {
  // A phone's clock may be wrong: times are the server's.
  let ahead = 0;
  const uuid = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  };
  const askKey = () => new Promise(done => {
    const dialog = document.createElement('dialog');
    dialog.className = 'ask';
    dialog.innerHTML = '<form method="dialog"><label>This server wants an API key to write<input type="password" ' +
      'autocomplete="current-password" required></label><button value="ok">Go on</button>' +
      '<button value="" formnovalidate class="plain">Cancel</button></form>';
    dialog.addEventListener('close', () => {
      done(dialog.returnValue ? dialog.querySelector('input').value.trim() : '');
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  const send = async (path, body, type) => {
    for (;;) {
      const headers = {'Content-Type': type};
      const key = sessionStorage.getItem('aisleflow_key');
      if (key) headers['X-API-Key'] = key;
      const answer = await fetch(path, {method: 'POST', headers, body});
      if (answer.status !== 401) return answer;
      const given = await askKey();
      if (!given) return answer;
      sessionStorage.setItem('aisleflow_key', given);
    }
  };
  const told = async answer => {
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(said.detail || `The server answered ${answer.status}.`);
    return said;
  };
  // The page is put together after this script is read.
  const begin = () => {
    const root = document.querySelector('.stock'), who = document.querySelector('#who');
    if (!root) return setTimeout(begin, 50);
    ahead = Number(root.dataset.now) - Date.now();
    if (who) who.value = localStorage.getItem('aisleflow_who') || '';
  };
  begin();

  const publish = async movement => {
    const body = JSON.stringify({movements: [{...movement, timestamp: new Date(Date.now() + ahead).toISOString()}]});
    const said = await told(await send('/stock/movements?wait=processed', body, 'application/json'));
    if (said.errors) throw new Error(`${said.error_details[0].field}: ${said.error_details[0].reason}`);
    return said;
  };
  const failure = error =>  // a browser without network throws a TypeError with words of its own
    `${error instanceof TypeError ? 'No connection.' : error.message} Not done: tap again.`;
  // A slip of the thumb is taken back by a movement the other way; a count by another count.
  const offerUndo = (movement, name) => {
    document.querySelector('.toast')?.remove();
    const toast = document.createElement('div'), words = document.createElement('span'), undo = document.createElement('button');
    toast.className = 'toast';
    toast.setAttribute('role', 'status');
    words.textContent = `${movement.quantity} × ${name}`;
    undo.textContent = 'Undo';
    const back = {...movement, event_id: uuid(), quantity: `-${movement.quantity}`, reason: 'taken back on the page'};
    undo.addEventListener('click', async () => {
      undo.disabled = true;
      try {
        await publish(back);
        toast.remove();
        emitEvent('stock_moved', back.sku);
      } catch (error) {
        words.textContent = failure(error);
        undo.disabled = false;
      }
    });
    toast.append(words, undo);
    document.querySelector('.stock').append(toast);
    setTimeout(() => toast.remove(), 20000);
  };

  document.addEventListener('submit', async event => {
    const form = event.target;
    if (!form.matches('form.tick')) return;
    event.preventDefault();
    const button = event.submitter, out = form.querySelector('output'), input = form.querySelector('input');
    const buttons = [...form.querySelectorAll('button')], data = button.dataset;
    buttons.forEach(one => { one.disabled = true; });
    out.className = '';
    out.textContent = 'Sending …';
    // Sent again after a failure it is the same movement, and counts once.
    data.event = data.event || uuid();
    const movement = {event_id: data.event, store_id: data.store, sku: data.sku, kind: data.move, location: data.location,
      quantity: data.quantity || input.value,
      reason: data.reason || 'ticked off on the page'};
    const who = localStorage.getItem('aisleflow_who');
    if (who) movement.actor = who.slice(0, 128);
    try {
      const said = await publish(movement);
      delete data.event;
      out.textContent = said.processed ? '✓ Done' : '✓ Sent; the ledger follows';
      out.className = 'good';
      const name = form.closest('li')?.querySelector('.article')?.firstChild.textContent.trim();
      if (data.move !== 'COUNT') offerUndo(movement, name || data.sku);
      emitEvent('stock_moved', data.sku);
    } catch (error) {
      out.textContent = failure(error);
      out.className = 'bad';
    }
    buttons.forEach(one => { one.disabled = false; });
  });

  document.addEventListener('change', async event => {
    const photo = event.target;
    if (photo.id === 'who') localStorage.setItem('aisleflow_who', photo.value.trim());
    if (photo.id !== 'photo' || !photo.files.length) return;
    const out = document.querySelector('#photo_said'), [file] = photo.files;
    out.className = '';
    out.textContent = 'Looking for products …';
    photo.disabled = true;
    const asked = new URLSearchParams({store_id: photo.dataset.store});
    const zone = document.querySelector('#zone').value.trim();
    if (zone) asked.set('zone_id', zone);
    try {
      const said = await told(await send(`/shelves/scan?${asked}`, file, file.type || 'application/octet-stream'));
      out.textContent = `${said.products.length} products, ${said.gaps} empty places.`;
      out.className = 'good';
      emitEvent('shelf_scanned', said.event_id);
    } catch (error) {
      out.textContent = error instanceof TypeError ? 'No connection: try again.' : error.message;
      out.className = 'bad';
    }
    photo.disabled = false;
    photo.value = '';
  });
})();
